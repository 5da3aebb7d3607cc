"""One version of a vector file on this machine's disk, for as long as it is read, and what is to be read of it.

Here: room for it, its bytes under If-Match, and that the parts of a shapefile are those which were listed; zip files,
KMZ among them, unpacked without harm: nothing outside of the folder, nothing without bound, nothing by password; what
each file is, in an enclosed process that has no GDAL, and where the other one begins, which has. Not here: layers
(`vectors.reading`).
"""

import errno
import lzma
import shutil
import struct
import sys
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from geo_assets.errors import BlobChanged, PermanentError, ScratchFull
from geo_assets.foreign_errors import as_reason
from geo_assets.models import BlobRef
from geo_assets.sources.vector_rules import TableRule
from geo_assets.storage.blob_store import BlobStore, download
from geo_assets.storage.related_blobs import placing_names, with_sidecars
from geo_assets.storage.scratch import filling
from geo_assets.vectors.errors import (
    ArchiveBomb,
    BrokenArchive,
    EmptyArchive,
    EncryptedFile,
    TruncatedVector,
    UnsafeArchive,
)
from geo_assets.vectors.formats import HEAD_BYTES, VectorFormat, sniff
from geo_assets.vectors.handover import Handover

ROOM_TO_SPARE = 64 * 1024**2
SHAPEFILE = ".shp"
MOST_STEM_BYTES = 180


@contextmanager
def downloaded(store: BlobStore, blob: BlobRef, *, scratch: Path) -> Iterator[Path]:
    """The path of the file below ``scratch`` that holds this version of ``blob``, for as long as the block.

    Raises ScratchFull, and what `BlobStore.read_range` raises.
    """
    with filling(scratch), tempfile.TemporaryDirectory(dir=scratch) as name:
        folder = Path(name)
        wanted = [blob, *_parts(store, blob)]
        check_room(folder, sum(each.size_bytes for each in wanted))
        for each in wanted:
            download(store, each, folder / _local_name(each.name))
        yield folder / _local_name(blob.name)


def _local_name(name: str) -> str:
    """What the file is called here: blobs may have longer names than files, and the parts of a shapefile one stem."""
    path = PurePosixPath(name)
    stem = path.stem.encode()
    if path.name in ("", ".."):
        return "file"
    if len(stem) <= MOST_STEM_BYTES:
        return path.name
    return f"{stem[:MOST_STEM_BYTES].decode('utf-8', 'ignore')}{path.suffix[:32]}"


def check_room(folder: Path, size_bytes: int) -> None:
    """Raise ScratchFull unless ``size_bytes`` and something to spare fit on the folder's disk."""
    free = shutil.disk_usage(folder).free
    if free < size_bytes + ROOM_TO_SPARE:
        raise ScratchFull(f"{size_bytes:,} bytes are needed in {folder}, and {free:,} are free.")


def _parts(store: BlobStore, blob: BlobRef) -> list[BlobRef]:
    """The blobs that belong to a shapefile; raises BlobChanged where they are not those that were listed."""
    if not blob.name.lower().endswith(SHAPEFILE):
        return []
    found = [part for name in placing_names(blob.name) if (part := store.head(name)) is not None]
    own = BlobRef(blob.name, blob.own_etag, blob.size_bytes, blob.last_modified)
    (seen,) = with_sidecars([own], {part.name: part.etag for part in found})
    if seen.etag != blob.etag:
        raise BlobChanged(f"Parts of {blob.name} were overwritten after it was listed.")
    return found


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


_ENDINGS = frozenset(
    (".shp", ".gpkg", ".geojson", ".json", ".geojsonl", ".geojsons", ".ndgeojson", ".fgb", ".parquet", ".geoparquet",
     ".kml", ".csv")
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Dataset:
    """A file (or the folder of a File Geodatabase) with layers, and what it is."""

    path: Path
    format: VectorFormat


@dataclass(frozen=True, slots=True)
class ReadTask:
    """What an enclosed process is to read: the datasets of one file, by which drivers, and where to hand them over."""

    datasets: tuple[Dataset, ...]
    drivers: frozenset[str]
    rule: TableRule
    assume_crs: str | None
    handover: Handover


def find_datasets(path: Path) -> list[Dataset]:
    """What is to be read of the file at ``path``: itself, or what its archive holds, unpacked beside it.

    Raises what `sniff` and `unpack` raise, and EmptyArchive.
    """
    with as_reason():
        return _find_datasets(path)


def _find_datasets(path: Path) -> list[Dataset]:
    kind = _sniff_file(path)
    if kind != "zip":
        return [Dataset(path, kind)]
    folder = Path(tempfile.mkdtemp(dir=path.parent, prefix="unpacked-"))
    unpack(path, folder)
    found = sorted(_datasets_in(folder), key=lambda dataset: str(dataset.path))
    if not found:
        raise EmptyArchive("The archive holds no vector file.")
    return found


def read_by_gdal(task: ReadTask) -> None:
    """Do ``task`` in the process that this is called in, where GDAL is imported now. Raises as `read_datasets` does.

    That import may start threads, which are to begin in the enclosure. pandas and geopandas, which pyogrio imports
    where they are installed, take longer than reading most files.
    """
    sys.modules.update({"pandas": None, "geopandas": None})  # type: ignore[dict-item]
    from geo_assets.vectors.reading import read_datasets

    read_datasets(task)


def _sniff_file(path: Path) -> VectorFormat:
    with path.open("rb") as file:
        kind = sniff(file.read(HEAD_BYTES), path.name)
        if kind == "parquet":
            file.seek(0, 2)
            if file.tell() < 12:
                raise TruncatedVector("The Parquet file has no footer: its end is missing.")
            file.seek(-4, 2)
            tail = file.read(4)
            if tail == b"PARE":
                raise EncryptedFile("The Parquet file's footer is encrypted.")
            if tail != b"PAR1":
                raise TruncatedVector("The Parquet file has no footer: its end is missing.")
    return kind


def _datasets_in(folder: Path) -> Iterator[Dataset]:
    """The vector files below ``folder``: those whose name and bytes both say so, and File Geodatabases."""
    geodatabases = [each for each in folder.rglob("*.gdb") if each.is_dir()]
    if any(folder.glob("*.gdbtable")):
        geodatabases.append(folder)
    yield from (Dataset(each, "filegdb") for each in geodatabases)
    for path in folder.rglob("*"):
        inside = any(path.is_relative_to(each) for each in geodatabases)
        if path.is_file() and not inside and path.suffix.lower() in _ENDINGS and "__MACOSX" not in path.parts:
            kind = _sniff_member(path, folder)
            if kind != "zip":
                yield Dataset(path, kind)


def _sniff_member(path: Path, folder: Path) -> VectorFormat:
    try:
        return _sniff_file(path)
    except PermanentError as error:
        said = f"In the archive, {str(path.relative_to(folder))[:200]!r}: {error.message}"
        raise type(error)(said, remedy=error.remedy) from error
