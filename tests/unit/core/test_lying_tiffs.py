"""TIFFs of a few hundred bytes whose headers claim what the file does not hold: each has a reason, or a small item."""

import io
import json
import struct
import time
from datetime import UTC, datetime
from typing import Any

import numpy
import pytest
import rasterio
from rasterio.io import MemoryFile

from geo_assets.errors import Corrupt, GeoAssetsError, TooLarge
from geo_assets.models import BlobRef
from geo_assets.raster.footprint import with_footprint
from geo_assets.raster.header import read_raster_metadata
from geo_assets.raster.tiff import MAX_SAMPLES
from geo_assets.sources.source import Source
from geo_assets.stac.item import build_item
from tests.unit.core.rasters import tiff_bytes

pytestmark = pytest.mark.attack

SHORT, LONG, DOUBLE, ASCII = 3, 4, 12, 2
_FORMS = {SHORT: "H", LONG: "I", DOUBLE: "d"}
Entry = tuple[int, int, list[float] | bytes]
PLACE: list[Entry] = [(33550, DOUBLE, [0.0001, 0.0001, 0.0]), (33922, DOUBLE, [0, 0, 0, 12, 48, 0])]
WGS84: list[Entry] = [(34735, SHORT, [1, 1, 0, 3, 1024, 0, 1, 2, 1025, 0, 1, 1, 2048, 0, 1, 4326])]
MOST_ITEM_BYTES = 1_000_000


def tiff_of(entries: list[Entry], *, data: bytes = b"") -> bytes:
    """A little-endian TIFF of one directory with these tags, and of ``data`` from byte 8."""
    start = 8 + len(data)
    end = start + 2 + 12 * len(entries) + 4
    table, values = b"", b""
    for tag, kind, content in sorted(entries, key=lambda entry: entry[0]):
        packed = content if isinstance(content, bytes) else struct.pack(f"<{len(content)}{_FORMS[kind]}", *content)
        place = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack("<I", end + len(values))
        table += struct.pack("<HHI", tag, kind, len(content)) + place
        values += packed if len(packed) > 4 else b""
    return b"II*\0" + struct.pack("<I", start) + data + struct.pack("<H", len(entries)) + table + bytes(4) + values


def image(width: int, height: int, *, blocks: list[Entry], samples: int = 1, compression: int = 1) -> list[Entry]:
    """The tags of an 8-bit image with its place on the Earth."""
    return [
        (256, LONG, [width]),
        (257, LONG, [height]),
        (258, SHORT, [8]),
        (259, SHORT, [compression]),
        (262, SHORT, [1]),
        (277, SHORT, [samples]),
        *blocks,
        *PLACE,
        *WGS84,
    ]


def strips(offsets: list[float], counts: list[float], rows: int) -> list[Entry]:
    """The places of strips of so many rows."""
    return [(273, LONG, offsets), (278, LONG, [rows]), (279, LONG, counts)]


def tiles(offsets: list[float], counts: list[float], side: int) -> list[Entry]:
    """The places of square tiles."""
    return [(322, LONG, [side]), (323, LONG, [side]), (324, LONG, offsets), (325, LONG, counts)]


def outcome(content: bytes) -> GeoAssetsError | int:
    """The error that reading a TIFF gives, or the bytes of its item."""
    try:
        metadata = with_footprint(read_raster_metadata(io.BytesIO(content)))
        source = Source(
            name="lies",
            url="file:///lies",
            collection={"id": "lies", "description": "Lies"},
            datetime=[{"fixed": "2020-01-01T00:00:00Z"}],
        )
        now = datetime(2024, 1, 1, tzinfo=UTC)
        blob = BlobRef(name="lie.tif", etag="1", size_bytes=len(content), last_modified=now)
        return len(json.dumps(build_item(source=source, blob=blob, metadata=metadata, href="file:///lies/lie.tif")))
    except GeoAssetsError as error:
        return error


LIES: dict[str, tuple[bytes, type[GeoAssetsError], str]] = {
    "one strip of few bytes": (
        tiff_of(image(60_000, 60_000, blocks=strips([8], [16], 60_000)), data=bytes(16)),
        Corrupt,
        "3600000008, but the file ends at",
    ),
    "a strip of no bytes": (
        tiff_of(image(60_000, 60_000, blocks=strips([8], [0], 60_000)), data=bytes(16)),
        Corrupt,
        "but the file ends at",
    ),
    "one of 60,000 strips": (
        tiff_of(image(60_000, 60_000, blocks=strips([8], [60_000], 1)), data=bytes(60_000)),
        Corrupt,
        "60,000 blocks of data, but the header lists 1",
    ),
    "no strip at all": (tiff_of(image(60_000, 60_000, blocks=[])), Corrupt, "the header lists 0"),
    "tiles of few bytes": (
        tiff_of(image(1024, 512, blocks=tiles([8, 8], [16, 16], 512)), data=bytes(16)),
        Corrupt,
        "but the file ends at",
    ),
    "a second plane that is missing": (
        tiff_of([*image(4, 4, samples=2, blocks=strips([8], [16], 4)), (284, SHORT, [2])], data=bytes(16)),
        Corrupt,
        "2 blocks of data, but the header lists 1",
    ),
    "65,535 bands": (
        tiff_of(image(1, 1, samples=65_535, blocks=strips([8], [65_535], 1)), data=bytes(65_535)),
        TooLarge,
        f"65,535 bands; at most {MAX_SAMPLES:,}",
    ),
    "65,535 bands that were never written": (
        tiff_of(image(1, 1, samples=65_535, blocks=strips([0], [0], 1))),
        TooLarge,
        "65,535 bands",
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lie_has_its_reason(name: str) -> None:
    content, kind, words = LIES[name]
    found = outcome(content)
    assert isinstance(found, kind)
    assert words in found.message


SOUND: dict[str, bytes] = {
    "one strip": tiff_of(image(4, 4, blocks=strips([8], [16], 4)), data=bytes(16)),
    "a strip that was never written": tiff_of(image(60_000, 60_000, blocks=strips([0], [0], 60_000))),
    "a count that is too large": tiff_of(image(4, 4, blocks=strips([8], [4000], 4)), data=bytes(16)),
    "a count that is too small, of data that are there": tiff_of(
        image(4, 4, blocks=strips([8], [1], 4)), data=bytes(16)
    ),
    "rows for ever": tiff_of(image(4, 4, blocks=strips([8], [16], 2**32 - 1)), data=bytes(16)),
    "a last strip of fewer rows": tiff_of(image(4, 5, blocks=strips([8, 16, 24], [8, 8, 4], 2)), data=bytes(20)),
    "a written tile and one that was not": tiff_of(image(32, 16, blocks=tiles([8, 0], [256, 0], 16)), data=bytes(256)),
    "many bands": tiff_of(
        image(1, 1, samples=MAX_SAMPLES, blocks=strips([8], [MAX_SAMPLES], 1)), data=bytes(MAX_SAMPLES)
    ),
}


@pytest.mark.parametrize("name", SOUND)
def test_what_is_sound_has_an_item(name: str) -> None:
    found = outcome(SOUND[name])
    assert isinstance(found, int), found
    assert found < MOST_ITEM_BYTES


@pytest.mark.parametrize("options", [{}, {"tiled": True, "blockxsize": 16, "blockysize": 16}])
@pytest.mark.parametrize("interleave", ["band", "pixel"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float64", "complex64"])
def test_what_gdal_writes_is_sound_until_its_last_byte_of_pixels(
    options: dict[str, Any], interleave: str, dtype: str
) -> None:
    content = tiff_bytes(width=37, height=53, count=3, dtype=dtype, interleave=interleave, **options)
    assert isinstance(outcome(content), int)
    sparse = tiff_bytes(width=37, height=53, count=3, dtype=dtype, interleave=interleave, sparse_ok=True, **options)
    assert isinstance(outcome(sparse), int)


def test_bits_are_packed_by_the_row() -> None:
    with MemoryFile() as memory:
        profile = {"driver": "GTiff", "width": 13, "height": 5, "count": 1, "dtype": "uint8", "nbits": 1}
        with memory.open(**profile, crs="EPSG:4326", transform=rasterio.Affine(1, 0, 0, 0, -1, 0)) as dataset:
            dataset.write(numpy.ones((1, 5, 13), "uint8"))
        assert isinstance(outcome(bytes(memory.read())), int)


LONG_TEXT = b"x" * 2_000_000 + b"\0"
BULKY: dict[str, list[Entry]] = {
    "a description": [(270, ASCII, LONG_TEXT)],
    "metadata of GDAL": [
        (
            42112,
            ASCII,
            b"<GDALMetadata>"
            + b'<Item name="a" sample="0" role="description">'
            + LONG_TEXT[:-1]
            + b"</Item></GDALMetadata>\0",
        )
    ],
    "many items of metadata": [
        (
            42112,
            ASCII,
            b"<GDALMetadata>"
            + b"".join(b'<Item name="k%d">v</Item>' % n for n in range(25_000))
            + b"</GDALMetadata>\0",
        )
    ],
    "more metadata of GDAL": [(42112, ASCII, b"<GDALMetadata>" + b"<Item name='k'>v</Item>" * 90_000)],
    "a CRS's citation": [
        (34737, ASCII, b"y" * 60_000 + b"|\0"),
        (34735, SHORT, [1, 1, 0, 4, 1024, 0, 1, 2, 1025, 0, 1, 1, 2048, 0, 1, 32767, 2049, 34737, 60_001, 0]),
    ],
    "a nodata value": [(42113, ASCII, LONG_TEXT)],
    "a place that is no number": [(33922, DOUBLE, [0, 0, 0, float("nan"), float("inf"), 0])],
    "control points": [(33922, DOUBLE, [float(n % 7 + n) for n in range(6 * 20_000)])],
}


@pytest.mark.parametrize("name", BULKY)
def test_what_is_bulky_is_cut_or_refused_soon(name: str) -> None:
    own = BULKY[name]
    kept = [each for each in image(4, 4, blocks=strips([8], [16], 4)) if each[0] not in {tag for tag, _, _ in own}]
    content = tiff_of([*kept, *own], data=bytes(16))
    began = time.process_time()
    found = outcome(content)
    assert time.process_time() - began < 5
    assert isinstance(found, GeoAssetsError) or found < MOST_ITEM_BYTES
