"""The page for people in a real browser: a search, an item of the list, and its pixels on the map."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.api_server import KEYS, served, settings_of, with_keys
from tests.pipeline import SOURCE, Pipeline
from tests.waiting import wait_until

CENTRE: Any = {"x": 760, "y": 360, "width": 80, "height": 80}
"""The middle of the map, in pixels of the page."""


@pytest.fixture
def catalogued(pipeline: Pipeline, samples: Path) -> Pipeline:
    """A catalogue of three samples and a refused one."""
    include = ["RGB.byte.tif", "rgb2.tif", "shade.tif", "corrupt.tif"]
    pipeline.declare((samples / "rasters").as_uri(), include=include)
    assert pipeline.run().success
    return pipeline


def open_page(page: Page, address: Any) -> None:
    page.goto(str(address))
    page.wait_for_selector("body[data-ready]", timeout=30_000)


def test_a_search_finds_an_item_whose_pixels_come_onto_the_map(page: Page, catalogued: Pipeline) -> None:
    with served(settings_of(catalogued.database_url, catalogued.sources_path)) as client:
        open_page(page, client.base_url)
        assert page.locator("#items li").count() == 3
        assert "1 quarantined" in page.inner_text("#sources")
        assert SOURCE in page.inner_text("#sources")
        page.fill("#words", "RGB.b")
        page.press("#words", "Enter")
        expect(page.locator("#items li")).to_have_count(1)
        page.focus("#items button")
        page.keyboard.press("Enter")
        page.wait_for_selector("#preview[src^=blob]")
        assert page.evaluate("document.activeElement.id") == "card-title", "who uses a keyboard is taken to the item"
        assert page.inner_text("#card-title") == "RGB.byte"
        page.wait_for_timeout(1500)
        page.uncheck("#tiles")
        page.wait_for_timeout(800)
        without = page.screenshot(clip=CENTRE)
        page.check("#tiles")
        wait_until(lambda: page.screenshot(clip=CENTRE) != without, "when the tiles are drawn", seconds=20)


def test_where_a_key_is_wanted_the_page_asks_for_it(page: Page, catalogued: Pipeline) -> None:
    settings = settings_of(catalogued.database_url, catalogued.sources_path, api_keys=with_keys())
    with served(settings) as client:
        open_page(page, client.base_url)
        assert page.locator("#items li").count() == 0
        page.fill("#key", KEYS["read"])
        page.press("#key", "Enter")
        expect(page.locator("#items li")).to_have_count(3)
        assert not page.is_visible("#key-form")
