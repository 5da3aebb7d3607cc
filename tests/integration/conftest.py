"""Fixtures that several integration tests share, beside those of all tests."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.pipeline import Pipeline
from tests.rasters import write_raster

BROWSER_FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]


@pytest.fixture
def page() -> Iterator[Page]:
    """A page of Chromium, in which nothing may go wrong, break its policy, open a dialog or ask another origin."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    assert program, "there is no Chromium: bash scripts/setup.sh --with-azurite installs it"
    errors: list[str] = []
    asked: set[str] = set()
    expect.set_options(timeout=20_000)  # the machine may be busy
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=BROWSER_FLAGS)
        page = browser.new_page(viewport={"width": 1200, "height": 800})
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if "Policy" in message.text else None)
        page.on("dialog", lambda dialog: errors.append(dialog.message))
        page.on("request", lambda request: asked.add(urlsplit(request.url).hostname or "127.0.0.1"))
        yield page
        browser.close()
    assert errors == []
    assert asked <= {"127.0.0.1"}


@pytest.fixture
def folder(pipeline: Pipeline, tmp_path: Path) -> Path:
    """A folder declared as the source, with three good rasters."""
    folder = tmp_path / "container"
    for number in range(3):
        write_raster(folder / f"scene_{number}.tif", value=number)
    pipeline.declare(folder.as_uri())
    return folder
