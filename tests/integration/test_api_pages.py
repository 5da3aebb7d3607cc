"""Each page of the API in a real browser: it works with what is shipped, and a stranger's name in it is only text.

Here: documentation, /features and /raster as HTML. Not here: the map (`test_page`), the headers (`test_api_callers`).
The fixture `page` fails where a page asks another host, breaks its Content-Security-Policy or opens a dialog.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect
from starlette.applications import Starlette
from starlette.testclient import TestClient

from geo_assets.api.pages import PackageFiles
from tests.api_server import KEYS, served, settings_of, with_keys
from tests.pipeline import Pipeline, failure_text
from tests.rasters import write_raster
from tests.vectors import POINTS, write_vector

pytestmark = pytest.mark.attack

TABLES = "vectors"
LAYER = "vectors.wells"
HOSTILE = {
    "<img src=x onerror=alert(1)>": '<img src="http://192.0.2.1/x.png" onerror="alert(2)">',
    "</script><script>alert(3)</script>": "</script><script>alert(4)</script>",
    "link": "javascript:alert(5)",
    '" onmouseover="alert(6)': "' onfocus='alert(7)' autofocus='",
    "![x](http://192.0.2.1/y.png)": "{{ 7 * 7 }}{% raw %}",
}


@pytest.fixture(scope="module")
def shown(module_pipeline: Pipeline) -> Pipeline:
    """Rasters as items, and a table whose columns and values are a stranger's."""
    folder = module_pipeline.sources_path.parent
    for number in range(2):
        write_raster(folder / "in" / f"scene_{number}.tif", value=50 * number)
    fields: dict[str, list[Any]] = {name: [value] * len(POINTS) for name, value in HOSTILE.items()}
    write_vector(folder / "tables" / "wells.gpkg", list(POINTS), driver="GPKG", fields=fields)
    module_pipeline.declare((folder / "in").as_uri())
    result = module_pipeline.run()
    assert result.success, failure_text(result)
    module_pipeline.declare((folder / "tables").as_uri(), name=TABLES, tables={})
    result = module_pipeline.run("load_vectors", source=TABLES)
    assert result.success, failure_text(result)
    return module_pipeline


@pytest.fixture(scope="module")
def api(shown: Pipeline) -> Iterator[httpx.Client]:
    """The API on them, without keys."""
    with served(settings_of(shown.database_url, shown.sources_path)) as client:
        yield client


def visit(page: Page, api: httpx.Client, path: str) -> None:
    """Open a page and wait until its script has done what it does; a small one, for its map is drawn without a GPU."""
    page.set_viewport_size({"width": 640, "height": 480})
    answer = page.goto(f"{api.base_url}".rstrip("/") + path)
    assert answer is not None
    assert answer.status == 200, path
    assert answer.headers["content-type"].startswith("text/html"), path
    page.wait_for_selector("body[data-ready]", timeout=20_000)


def test_each_documentation_is_drawn_without_another_host(page: Page, api: httpx.Client) -> None:
    for path, heading in {
        "/api/docs": "geo_assets",
        "/stac/api.html": "geo_assets",
        "/raster/api.html": "geo_assets: tiles",
        "/features/api.html": "geo_assets: features",
    }.items():
        visit(page, api, path)
        expect(page.locator(".info .title")).to_contain_text(heading)
        assert page.locator(".opblock").count() > 5
    page.goto(f"{api.base_url}/api/docs")
    page.locator(".opblock", has_text="/livez").first.click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table tbody .response-col_status").first).to_contain_text("200")


def test_the_documentation_asks_for_a_key_where_one_is_wanted(page: Page, shown: Pipeline) -> None:
    with served(settings_of(shown.database_url, shown.sources_path, api_keys=with_keys())) as client:
        page.goto(f"{client.base_url}/stac/api.html")
        page.fill("#key", KEYS["read"])
        page.press("#key", "Enter")
        expect(page.locator(".info .title")).to_contain_text("geo_assets")
        assert not page.is_visible("#key-form")
        page.locator(".opblock", has_text="/conformance").first.click()
        page.get_by_role("button", name="Try it out").click()
        page.get_by_role("button", name="Execute").click()
        expect(page.locator(".live-responses-table tbody .response-col_status").first).to_contain_text("200")


FEATURES_DRAWN = [
    "/features/",
    "/features/collections",
    f"/features/collections/{LAYER}",
    f"/features/collections/{LAYER}/items/1",
    f"/features/collections/{LAYER}/tiles/WebMercatorQuad",
    f"/features/collections/{LAYER}/tiles/WebMercatorQuad/map.html",
]
FEATURES = [
    *FEATURES_DRAWN,
    "/features/conformance?f=html",
    f"/features/collections/{LAYER}/queryables",
    f"/features/collections/{LAYER}/items",
    f"/features/collections/{LAYER}/items?limit=5",
    f"/features/collections/{LAYER}/tiles",
    "/features/tileMatrixSets",
    "/features/tileMatrixSets/WebMercatorQuad",
]


def test_pages_of_features_hold_what_strangers_wrote_as_text(page: Page, api: httpx.Client) -> None:
    for path in FEATURES_DRAWN:
        visit(page, api, path)
        assert page.locator("main img, td a[href^=javascript], td script, [onerror], [onmouseover]").count() == 0, path
        assert page.locator("script:not([src]):not([type='application/json'])").count() == 0, path
    visit(page, api, f"/features/collections/{LAYER}/items?limit=5")
    headings = page.locator("th").all_inner_texts()
    assert headings[0] == "ID"
    assert all(re.fullmatch(r"ID|\w+", heading) for heading in headings), "the loader makes names of columns plain"
    cells = page.locator("tbody tr").first.locator("td").all_inner_texts()
    assert set(HOSTILE.values()) <= set(cells)
    page.get_by_role("link", name="Next page").click()
    expect(page.locator("tbody tr")).to_have_count(5)


def test_a_click_on_a_feature_shows_its_values_as_text(page: Page, api: httpx.Client) -> None:
    visit(page, api, f"/features/collections/{LAYER}/items/1")
    box = page.locator("#map canvas").bounding_box()
    assert box
    page.wait_for_timeout(500)
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.locator(".maplibregl-popup-content")).to_contain_text("javascript:alert(5)")
    assert page.locator(".maplibregl-popup-content img, .maplibregl-popup-content a").count() == 0


RASTER_DRAWN = [
    "/raster/colorMaps/viridis?f=html",
    "/raster/collections/{collection}/WebMercatorQuad/map.html?assets=data",
    "/raster/collections/{collection}/items/{item}/tiles/WebMercatorQuad?f=html&assets=data",
    "/raster/collections/{collection}/items/{item}/WebMercatorQuad/map.html?assets=data",
]
RASTER = [
    *RASTER_DRAWN,
    "/raster/tileMatrixSets?f=html",
    "/raster/tileMatrixSets/WebMercatorQuad?f=html",
    "/raster/algorithms?f=html",
    "/raster/algorithms/hillshade?f=html",
    "/raster/colorMaps?f=html",
    "/raster/collections/{collection}/tiles?f=html&assets=data",
    "/raster/collections/{collection}/tiles/WebMercatorQuad?f=html&assets=data",
    "/raster/collections/{collection}/items/{item}/tiles?f=html&assets=data",
]


@pytest.fixture
def raster_pages(api: httpx.Client) -> dict[str, list[str]]:
    """The pages of /raster of one item: those that a browser opens, and all."""
    found = api.get("/stac/search?limit=1&filter=geo_assets:table IS NULL").json()["features"][0]
    names = {"collection": found["collection"], "item": found["id"]}
    return {"drawn": [path.format(**names) for path in RASTER_DRAWN], "all": [path.format(**names) for path in RASTER]}


def test_pages_of_rasters_are_drawn_without_another_host(
    page: Page, api: httpx.Client, raster_pages: dict[str, list[str]]
) -> None:
    tiles: list[str] = []
    page.on(
        "response",
        lambda answer: tiles.append(answer.url) if re.search(r"/tiles/WebMercatorQuad/\d", answer.url) else None,
    )
    for path in raster_pages["drawn"]:
        visit(page, api, path)
        assert page.locator("script:not([src]):not([type='application/json'])").count() == 0, path
    assert tiles, "the maps of tiles ask for tiles"


def test_what_a_request_says_stands_in_no_page_as_more_than_text(
    api: httpx.Client, raster_pages: dict[str, list[str]]
) -> None:
    attack = "'\"></a><script>alert(8)</script><img src=x onerror=alert(9)>"
    for path in (*FEATURES, *raster_pages["all"]):
        answer = api.get(path + ("&" if "?" in path else "?") + str(httpx.QueryParams({"f": "html", "x": attack})))
        assert answer.status_code == 200, path
        assert not re.findall(r"<script>alert|<img src=x|'\"></a>", answer.text), path


def test_no_page_loads_anything_of_another_host_or_runs_what_is_written_into_it(
    api: httpx.Client, raster_pages: dict[str, list[str]]
) -> None:
    """A link that a reader follows may lead anywhere."""
    for path in ("/", "/api/docs", "/stac/api.html", *FEATURES, *raster_pages["all"]):
        text = api.get(path, headers={"Accept": "text/html"}).text
        assert text.lstrip().startswith("<!doctype html>"), path
        assert not re.findall(r"<(?:script|img|link|iframe)[^>]*(?:src|href)=[\"'](?:https?:)?//", text), path
        assert not re.findall(r"<style|<[^>]*\s(?:style|on[a-z]+)=", text), path
        assert not re.findall(r"<script(?![^>]* src=| type=.application/json)", text), path


@pytest.mark.parametrize(
    "file", ["maplibre-gl/package.json", "swagger-ui-dist/index.html", "swagger-ui-dist/oauth2-redirect.html"]
)
def test_of_a_package_only_what_pages_load_is_served(api: httpx.Client, file: str) -> None:
    assert api.get(f"/static/{file}").status_code == 404
    assert api.get("/static/swagger-ui-dist/swagger-ui.css").status_code == 200
    assert api.get("/api/docs/oauth2-redirect").status_code == 404


def test_a_package_that_is_not_installed_is_not_found(tmp_path: Path) -> None:
    app = Starlette()
    app.mount("/package", PackageFiles(tmp_path / "missing", {"page.js"}))
    assert TestClient(app).get("/package/page.js").status_code == 404
