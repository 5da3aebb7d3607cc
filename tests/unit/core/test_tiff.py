"""The structure of a TIFF against rio-cogeo and GDAL, and damaged headers."""

import contextlib
import io
import random
from pathlib import Path
from typing import Any

import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate

from geo_assets.errors import Corrupt, TooLarge
from geo_assets.raster.tiff import check_data_is_there, header_size_bytes, is_cog, read_structure
from tests.unit.core.rasters import tiff_bytes


def test_a_cog_is_a_cog_exactly_where_rio_cogeo_says_so(tmp_path: Path) -> None:
    size: dict[str, Any] = {"width": 1100, "height": 1100}
    made = {
        "cog": tiff_bytes(driver="COG", **size),
        "bigtiff": tiff_bytes(driver="COG", BIGTIFF="YES", **size),
        "striped": tiff_bytes(**size),
        "tiled": tiff_bytes(tiled=True, blockxsize=256, blockysize=256, **size),
        "appended overviews": tiff_bytes(tiled=True, edit=lambda dataset: dataset.build_overviews([2, 4]), **size),
        "small": tiff_bytes(),
    }
    found = {}
    for name, data in made.items():
        path = tmp_path / f"{name}.tif"
        path.write_bytes(data)
        found[name] = is_cog(read_structure(io.BytesIO(data)))
        assert found[name] == cog_validate(path, quiet=True)[0], name
    assert found["cog"]
    assert not found["appended overviews"]


def test_every_sample_has_the_layout_that_rio_cogeo_and_gdal_see(samples: Path) -> None:
    for path in sorted((samples / "rasters").glob("*.tif")):
        with path.open("rb") as file:
            structure = read_structure(file)
        with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
            assert is_cog(structure) == cog_validate(path, quiet=True)[0], path.name
            with rasterio.open(path) as dataset:
                factors = [round(dataset.width / each.width) for each in structure.overviews]
                assert factors == dataset.overviews(1), path.name


def test_a_file_cut_anywhere_is_corrupt() -> None:
    whole = tiff_bytes(width=64, height=64)
    for length in range(8, len(whole), 7):
        with pytest.raises(Corrupt):
            check_data_is_there(read_structure(io.BytesIO(whole[:length])))


def test_directories_in_a_loop_are_corrupt() -> None:
    # One directory at offset 8 with no entries, whose successor is itself.
    with pytest.raises(Corrupt, match="loop"):
        read_structure(io.BytesIO(b"II*\0\x08\0\0\0" + b"\0\0" + b"\x08\0\0\0"))


def test_a_directory_of_absurd_size_is_too_large() -> None:
    with pytest.raises(TooLarge, match="65535 tags"):
        read_structure(io.BytesIO(b"II*\0\x08\0\0\0\xff\xff" + bytes(1_000_000)))


def test_random_damage_gives_a_structure_or_a_typed_error() -> None:
    whole = tiff_bytes()
    dice = random.Random(1)
    for _ in range(500):
        damaged = bytearray(whole)
        for _ in range(dice.randint(1, 6)):
            damaged[dice.randrange(4, len(damaged))] = dice.randrange(256)
        with contextlib.suppress(Corrupt, TooLarge):
            check_data_is_there(read_structure(io.BytesIO(bytes(damaged))))


def test_the_header_of_a_cog_alone_gives_the_same_directories() -> None:
    for options in ({}, {"BIGTIFF": "YES"}, {"compress": "deflate", "nodata": 7, "count": 3}):
        data = tiff_bytes(driver="COG", width=1100, height=900, tags={"A": "x" * 900}, **options)
        whole = read_structure(io.BytesIO(data))
        size = header_size_bytes(whole)
        assert size is not None
        assert size < min(offset for each in whole.directories for offset, _ in each.blocks)
        # Blocks are only looked up in the header, so what is cut off is not missed; one byte less is.
        cut = read_structure(io.BytesIO(data[:size]))
        assert cut.directories == whole.directories
        with pytest.raises(Corrupt):
            read_structure(io.BytesIO(data[: size - 5]))


def test_a_header_that_lies_behind_pixels_has_no_size(tmp_path: Path) -> None:
    path = tmp_path / "appended.tif"
    path.write_bytes(tiff_bytes(tiled=True, width=1100, height=1100))
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2])
    with path.open("rb") as file:
        structure = read_structure(file)
    assert len(structure.overviews) == 1
    assert header_size_bytes(structure) is None


def test_the_byte_order_is_that_of_the_file() -> None:
    for order, mark in (("LITTLE", "<"), ("BIG", ">")):
        assert read_structure(io.BytesIO(tiff_bytes(ENDIANNESS=order))).byte_order == mark
