"""Fixtures that several integration tests share, beside those of all tests."""

from pathlib import Path

import pytest

from tests.pipeline import Pipeline
from tests.rasters import write_raster


@pytest.fixture
def folder(pipeline: Pipeline, tmp_path: Path) -> Path:
    """A folder declared as the source, with three good rasters."""
    folder = tmp_path / "container"
    for number in range(3):
        write_raster(folder / f"scene_{number}.tif", value=number)
    pipeline.declare(folder.as_uri())
    return folder
