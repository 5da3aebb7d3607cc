"""COGs of real rasters, from a folder and from Azurite: valid, equal to their raster, told of in the item, gone with it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate

from geo_assets.resources.cog_ledger import StandingCog
from tests.pipeline import SOURCE, Pipeline

RASTERS = ["**/*.tif", "**/*.TIF", "**/*.jpg", "**/*.png", "**/*.nc", "**/*.vrt"]


@pytest.fixture
def silver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The silver place, and scratch beside it."""
    monkeypatch.setenv("GEO_ASSETS_SILVER", (tmp_path / "silver").as_uri())
    monkeypatch.setenv("GEO_ASSETS_SCRATCH", str(tmp_path / "scratch"))
    return tmp_path / "silver"


def standing(pipeline: Pipeline) -> dict[str, StandingCog]:
    ledger: Any = pipeline.resources()["cog_ledger"]
    return {cog.name: cog for cog in ledger.standing(SOURCE)}


def test_every_sample_has_a_cog_with_its_very_pixels_or_a_reason(pipeline: Pipeline, silver: Path, samples: Path) -> None:
    folder = samples / "rasters"
    pipeline.declare(folder.as_uri(), include=RASTERS, vrt=True, cogs={})
    assert pipeline.run().success
    assert pipeline.run("make_cogs").success
    cogs = standing(pipeline)
    items = pipeline.items()
    for name in items:
        cog = cogs[name]
        if cog.error_code:
            continue
        path = folder / name if cog.is_linked else silver / str(cog.name_in_place)
        assert cog_validate(path, strict=True, quiet=True)[0], name
    assert {name: cog.error_code for name, cog in cogs.items() if cog.error_code} == {}
