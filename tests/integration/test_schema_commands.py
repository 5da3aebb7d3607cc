"""geo-assets schemas: what it lists, and what it fetches from a server on this machine."""

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from geo_assets.cli.main import main
from geo_assets.stac.extensions import EXTENSIONS, STORAGE_EXTENSION
from geo_assets.stac.schemas import ITEM_SCHEMA, schema_path
from tests.pipeline import Pipeline


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name the library gives it
        """Say nothing."""


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A folder in which each extension has a schema, and one of them refers to another."""
    folder = tmp_path / "published"
    documents: dict[str, Any] = {url: {"$id": url, "title": url} for url in EXTENSIONS}
    part = STORAGE_EXTENSION.replace("schema.json", "platforms/part.json")
    documents[STORAGE_EXTENSION]["allOf"] = [
        {"$ref": "./platforms/part.json"},
        {"$ref": "https://geojson.org/schema/Geometry.json"},
    ]
    documents[part] = {"$id": part}
    for url, document in documents.items():
        path = schema_path(folder, url)
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(document))
    return folder


@pytest.fixture
def mirror(published: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address at which ``published`` is served."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(published))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def run(*arguments: str, status: int = 0) -> Result:
    result = CliRunner().invoke(main, ["schemas", *arguments], catch_exceptions=False)
    assert result.exit_code == status, result.output
    return result


def listed() -> dict[str, dict[str, Any]]:
    return {row["schema"]: row for row in json.loads(run("list", "--json").stdout)["schemas"]}


def test_without_a_folder_core_is_checked_and_the_extensions_are_not() -> None:
    rows = listed()
    assert rows[ITEM_SCHEMA]["checked"]
    assert {url for url, row in rows.items() if not row["checked"]} == set(EXTENSIONS)
    assert "GEO_ASSETS_SCHEMAS is not set" in run("list").stdout


def test_what_was_fetched_is_checked_from_then_on(mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "fetched"
    said = run("fetch", "--folder", str(target), "--mirror", mirror).stdout
    assert said.startswith(f"{len(EXTENSIONS) + 1} schemas in ")
    assert "GEO_ASSETS_SCHEMAS" in said
    assert schema_path(target, STORAGE_EXTENSION.replace("schema.json", "platforms/part.json")).is_file()
    assert not (target / "geojson.org").exists()
    monkeypatch.setenv("GEO_ASSETS_SCHEMAS", str(target))
    assert all(row["checked"] for row in listed().values())
    assert json.loads(run("fetch", "--mirror", mirror, "--json").stdout)["folder"] == str(target)


def test_a_schema_that_cannot_be_had_is_named_and_what_came_before_is_kept(
    mirror: str, published: Path, tmp_path: Path
) -> None:
    schema_path(published, EXTENSIONS[1]).unlink()
    target = tmp_path / "fetched"
    result = run("fetch", "--folder", str(target), "--mirror", mirror, status=1)
    assert "schema_unavailable" in result.stderr
    assert "HTTP Error 404" in result.stderr
    assert schema_path(target, EXTENSIONS[0]).is_file()
    assert list(target.rglob("*.part")) == []


def test_a_page_that_is_no_schema_is_not_kept(mirror: str, published: Path, tmp_path: Path) -> None:
    schema_path(published, EXTENSIONS[0]).write_text("<html>Sign in to this network</html>")
    target = tmp_path / "fetched"
    assert "is no JSON" in run("fetch", "--folder", str(target), "--mirror", mirror, status=1).stderr
    assert not target.exists()


def test_without_any_folder_fetch_says_what_to_set() -> None:
    assert "GEO_ASSETS_SCHEMAS" in run("fetch", status=1).stderr


def test_status_says_what_items_are_not_checked_against(
    pipeline: Pipeline, folder: Path, mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEO_ASSETS_DATABASE_URL", pipeline.database_url)
    monkeypatch.setenv("GEO_ASSETS_SOURCES", str(pipeline.sources_path))
    said = CliRunner().invoke(main, ["status"], catch_exceptions=False).stdout
    assert "not (fully) checked against projection v2.0.0, file v2.1.0" in said
    target = tmp_path / "fetched"
    run("fetch", "--folder", str(target), "--mirror", mirror)
    monkeypatch.setenv("GEO_ASSETS_SCHEMAS", str(target))
    assert "checked against" not in CliRunner().invoke(main, ["status"], catch_exceptions=False).stdout
