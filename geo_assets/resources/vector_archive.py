"""Archives unpacked without harm: nothing outside of the folder, nothing without bound, nothing by password.

Here: zip files, KMZ among them. Not here: what is in them (`vector_reading`).
"""

import shutil
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from geo_assets.resources.vector_download import check_room
from geo_assets.vector_errors import ArchiveBomb, BrokenArchive, EncryptedFile, UnsafeArchive

MOST_RATIO = 200
"""Honest files, mostly text, shrink to a twentieth."""
FREE_OF_RATIO = 64 * 1024**2
MOST_MEMBERS = 10_000
_ENCRYPTED = 0x1
_LINK = 0o120000


def unpack(archive: Path, folder: Path) -> None:
    """Unpack ``archive`` into ``folder``.

    Raises BrokenArchive, EncryptedFile, UnsafeArchive, ArchiveBomb or ScratchFull.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            _check(members, packed=archive.stat().st_size)
            check_room(folder, sum(member.file_size for member in members))
            for member in members:
                _unpack_member(opened, member, folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise BrokenArchive(f"The archive cannot be unpacked: {error}.") from error


def _check(members: list[zipfile.ZipInfo], *, packed: int) -> None:
    if len(members) > MOST_MEMBERS:
        raise ArchiveBomb(f"The archive has {len(members):,} members, more than {MOST_MEMBERS:,}.")
    for member in members:
        path = PurePosixPath(member.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or (path.parts and path.parts[0].endswith(":")):
            raise UnsafeArchive(f"The archive has a member {member.filename!r}, which lies outside of it.")
        if (member.external_attr >> 16) & 0o170000 == _LINK:
            raise UnsafeArchive(f"The archive's member {member.filename!r} is a link.")
        if member.flag_bits & _ENCRYPTED:
            raise EncryptedFile(f"The archive's member {member.filename!r} is encrypted.")
    unpacked = sum(member.file_size for member in members)
    if unpacked > max(FREE_OF_RATIO, packed * MOST_RATIO):
        raise ArchiveBomb(f"The archive has {packed:,} bytes and unpacks to {unpacked:,}.")


def _unpack_member(opened: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
    path = folder / member.filename.replace("\\", "/")
    path.parent.mkdir(parents=True, exist_ok=True)
    with opened.open(member) as packed, path.open("wb") as file:
        shutil.copyfileobj(packed, file, 1024**2)
