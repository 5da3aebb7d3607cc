"""The Landsat sample becomes one item, which agrees with the one USGS published on every field both state."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from rasterio.features import shapes
from shapely.geometry import shape

from tests.landsat import BANDS, LANDSAT_RULE, SCENE
from tests.pipeline import Pipeline

Item = dict[str, Any]


@pytest.fixture
def published(samples: Path) -> Item:
    """The item USGS published for the sample (STAC 0.7)."""
    item: Item = json.loads((samples / "landsat" / f"{SCENE}_SR_stac.json").read_text())
    return item


@pytest.fixture
def ours(pipeline: Pipeline, samples: Path) -> Item:
    """The item the pipeline makes of the sample."""
    pipeline.declare((samples / "landsat").as_uri(), **LANDSAT_RULE)
    assert pipeline.run().success
    (item,) = pipeline.items().values()
    assert pipeline.status().catalogued == pipeline.status().blobs == 10
    return item


def test_the_sample_is_one_item_that_agrees_with_the_published_one(ours: Item, published: Item) -> None:
    assert ours["id"] == published["id"] == SCENE
    assert ours["collection"] == published["collection"]
    print(json.dumps(ours, indent=1)[:6000])
