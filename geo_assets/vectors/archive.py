"""Archives unpacked without harm: nothing outside of the folder, nothing without bound, nothing by password.

Here: zip files, KMZ among them; which names of members are safe. Not here: what is in them (`vectors.datasets`).
"""

import errno
import lzma
import shutil
import struct
import unicodedata
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from geo_assets.errors import ScratchFull
from geo_assets.vectors.download import check_room
from geo_assets.vectors.errors import ArchiveBomb, BrokenArchive, EncryptedFile, UnsafeArchive

MOST_RATIO = 200
"""Honest files, mostly text, shrink to a twentieth."""
FREE_OF_RATIO = 64 * 1024**2
MOST_MEMBERS = 10_000
MOST_NAME_BYTES = 200
"""Of one folder or file: file systems take 255, encrypted ones 143 and upwards."""
MOST_PATH_BYTES = 1_000
MOST_DEPTH = 32
_ENCRYPTED = 0x1
_LINK = 0o120000
_FULL = (errno.ENOSPC, errno.EDQUOT)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack ``archive`` into ``folder``.

    Raises BrokenArchive, EncryptedFile, UnsafeArchive, ArchiveBomb or ScratchFull, and nothing else.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.filename.endswith("/")]
            paths = _checked(members, packed=archive.stat().st_size)
            check_room(folder, sum(member.file_size for member in members))
            for member, path in zip(members, paths, strict=True):
                _unpack_member(opened, member, folder / path)
    except OSError as error:
        if error.errno in _FULL:
            raise ScratchFull(f"The scratch folder takes no more: {error.strerror}.") from error
        if error.errno is None:  # bz2's word for data that are none of its
            raise BrokenArchive(f"The archive cannot be unpacked: {error}.") from error
        raise UnsafeArchive(f"The archive has a member that cannot be written: {error.strerror}.") from error
    except MemoryError as error:
        raise ArchiveBomb("Unpacking the archive takes more memory than is allowed.") from error
    except (
        zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError,
        ValueError, OverflowError,
    ) as error:  # fmt: skip
        raise BrokenArchive(f"The archive cannot be unpacked: {error}.") from error


def _checked(members: list[zipfile.ZipInfo], *, packed: int) -> list[PurePosixPath]:
    """Where each member goes, below the folder."""
    if len(members) > MOST_MEMBERS:
        raise ArchiveBomb(f"The archive has {len(members):,} members, more than {MOST_MEMBERS:,}.")
    paths = [_safe_path(member) for member in members]
    _check_apart(paths)
    for member in members:
        if member.flag_bits & _ENCRYPTED:
            raise EncryptedFile(f"The archive's member {_shown(member)} is encrypted.")
    unpacked = sum(member.file_size for member in members)
    if unpacked > max(FREE_OF_RATIO, packed * MOST_RATIO):
        raise ArchiveBomb(f"The archive has {packed:,} bytes and unpacks to {unpacked:,}.")
    return paths


def _safe_path(member: zipfile.ZipInfo) -> PurePosixPath:
    name = member.orig_filename.replace("\\", "/")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if any(unicodedata.category(character) == "Cc" for character in name):
        raise UnsafeArchive(f"The name of the archive's member {_shown(member)} has control characters.")
    if name.startswith("/") or ".." in parts or (parts and parts[0].endswith(":")):
        raise UnsafeArchive(f"The archive has a member {_shown(member)}, which lies outside of it.")
    if not parts:
        raise UnsafeArchive(f"The archive has a member {_shown(member)}, which is no name of a file.")
    if len(parts) > MOST_DEPTH:
        raise UnsafeArchive(f"The archive's member {_shown(member)} lies {len(parts) - 1:,} folders deep.")
    sizes = [len(part.encode("utf-8", "surrogatepass")) for part in parts]
    if max(sizes) > MOST_NAME_BYTES or sum(sizes) > MOST_PATH_BYTES:
        raise UnsafeArchive(
            f"The archive's member {_shown(member)} has a name of more than {MOST_NAME_BYTES} bytes, or of more than "
            f"{MOST_PATH_BYTES:,} with its folders."
        )
    if (member.external_attr >> 16) & 0o170000 == _LINK:
        raise UnsafeArchive(f"The archive's member {_shown(member)} is a link.")
    return PurePosixPath(*parts)


def _check_apart(paths: list[PurePosixPath]) -> None:
    """Raise UnsafeArchive where two members are one file, or one is the other's folder, here or where case is none."""
    files: set[str] = set()
    for path in paths:
        plain = _plain(path)
        if plain in files:
            raise UnsafeArchive(f"The archive has two members called {str(path)[:100]!r}, or that differ by case only.")
        files.add(plain)
    for path in paths:
        for parent in path.parents:
            if _plain(parent) in files:
                raise UnsafeArchive(f"The archive's member {str(parent)[:100]!r} is a file and a folder.")


def _plain(path: PurePosixPath) -> str:
    return unicodedata.normalize("NFKC", str(path)).casefold()


def _shown(member: zipfile.ZipInfo) -> str:
    name = member.orig_filename
    return repr(name if len(name) <= 100 else f"{name[:100]}...")


def _unpack_member(opened: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with opened.open(member) as packed, path.open("xb") as file:
        shutil.copyfileobj(packed, file, 1024**2)
