"""What is to be read of a vector file: itself, or what its archive holds.

Here: unpacking and sniffing, in an enclosed process that has no GDAL; and where the other one begins, which has. Not
here: layers (`vectors.reading`).
"""

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from geo_assets.errors import PermanentError
from geo_assets.foreign_errors import as_reason
from geo_assets.sources.vector_rules import TableRule
from geo_assets.vectors.archive import unpack
from geo_assets.vectors.errors import EmptyArchive, EncryptedFile, TruncatedVector
from geo_assets.vectors.handover import Handover
from geo_assets.vectors.sniffing import HEAD_BYTES, VectorFormat, sniff

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
