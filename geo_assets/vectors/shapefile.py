"""Shapefiles: which files belong together, and whether they do; GDAL reads what is there of a cut one and says nothing.

Here: names and headers (ESRI Shapefile Technical Description, 1998; dBASE III). Not here: reading features.
"""

import struct
from pathlib import Path

from geo_assets.vectors.errors import MissingDbf, MissingShx, PartsDisagree, TruncatedVector


def check_shapefile(path: Path) -> int:
    """How many records the shapefile has by its index.

    Raises MissingShx, MissingDbf, TruncatedVector or PartsDisagree.
    """
    beside = {each.suffix.lower(): each for each in path.parent.iterdir() if each.stem == path.stem}
    if ".shx" not in beside:
        raise MissingShx(f"{path.stem}.shx is not beside {path.name}.")
    if ".dbf" not in beside:
        raise MissingDbf(f"{path.stem}.dbf is not beside {path.name}.")
    for each in (path, beside[".shx"]):
        _check_length(each)
    records = (_main_length(beside[".shx"]) - 100) // 8
    attributes = _check_table(beside[".dbf"])
    if records != attributes:
        raise PartsDisagree(f"{path.stem}.shx has {records:,} records, {path.stem}.dbf {attributes:,}.")
    return records


def _main_length(path: Path) -> int:
    with path.open("rb") as file:
        header = file.read(100)
    if len(header) < 100:
        raise TruncatedVector(f"{path.name} has {len(header)} bytes, less than its header.")
    (words,) = struct.unpack(">i", header[24:28])
    return int(words) * 2


def _check_length(path: Path) -> None:
    said, there = _main_length(path), path.stat().st_size
    if there < said:
        raise TruncatedVector(f"{path.name} has {there:,} bytes; its header says {said:,}.")


def _check_table(path: Path) -> int:
    with path.open("rb") as file:
        header = file.read(32)
    if len(header) < 32:
        raise TruncatedVector(f"{path.name} has {len(header)} bytes, less than its header.")
    records, header_bytes, record_bytes = struct.unpack("<IHH", header[4:12])
    said, there = header_bytes + records * record_bytes, path.stat().st_size
    if there < said:
        raise TruncatedVector(f"{path.name} has {there:,} bytes; its header says {said:,}.")
    return int(records)
