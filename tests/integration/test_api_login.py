"""The API with no URL but its own, and what it says where the database refuses: never a word of the database's."""

from pathlib import Path
from typing import Any

import pytest
import structlog
from pydantic import SecretStr

from geo_assets.postgres.databases import api_url
from geo_assets.postgres.logins import API_LOGINS, password_of, user_of
from geo_assets.settings import Settings
from tests.api_server import bearer, served, settings_of, with_keys
from tests.integration.test_api_security import COLLECTION, item
from tests.pipeline import SOURCE, Pipeline, as_user
from tests.rasters import write_raster
from tests.vectors import write_shapefile

pytestmark = pytest.mark.attack


@pytest.fixture
def settings(pipeline: Pipeline, tmp_path: Path) -> Settings:
    """The settings of an API that knows neither the owner's login nor the pipeline's."""
    return Settings(
        _env_file=None,
        api_database_url=SecretStr(as_user(pipeline.database_url, "anybody")),
        sources_file=pipeline.sources_path,
        state_folder=tmp_path / "state",
        api_keys=with_keys(),
        api_redeploy=True,
    )


def test_the_api_needs_no_login_but_its_own(pipeline: Pipeline, settings: Settings, tmp_path: Path) -> None:
    write_raster(tmp_path / "container" / "a.tif")
    pipeline.declare((tmp_path / "container").as_uri())
    assert pipeline.run().success
    write_shapefile(tmp_path / "layers" / "places.shp")
    pipeline.declare((tmp_path / "layers").as_uri(), name="vectors", tables={})
    assert pipeline.run("load_vectors", source="vectors").success
    with served(settings) as client:
        assert client.get("/readyz").status_code == 200
        (found,) = client.post("/stac/search", json={"collections": [SOURCE]}, headers=bearer("read")).json()[
            "features"
        ]
        picture = f"/raster/collections/{SOURCE}/items/{found['id']}/preview.png?assets=data"
        assert client.get(picture, headers=bearer("read")).status_code == 200
        register = client.post("/raster/searches/register", json={"collections": [SOURCE]}, headers=bearer("submit"))
        assert register.status_code == 200
        mosaic = f"/raster/searches/{register.json()['id']}/bbox/-180,-80,180,80.png?assets=data&max_size=64"
        assert client.get(mosaic, headers=bearer("read")).status_code in (200, 204)
        assert client.get("/features/collections/vectors.places/items", headers=bearer("read")).status_code == 200
        for path in ("/api/db/stats", "/api/sources", "/api/metrics/comparison", "/metrics"):
            assert client.get(path, headers=bearer("read")).status_code == 200, path
        assert client.post("/stac/collections", json=COLLECTION, headers=bearer("write")).status_code == 201
        posted = client.post("/stac/collections/mine/items", json=item("one", "a.tif"), headers=bearer("write"))
        assert posted.status_code == 201
        assert client.delete("/stac/collections/mine", headers=bearer("write")).status_code == 200
        name = client.get("/api/db/stats", headers=bearer("read")).json()["database"]["name"]
        redeploy = client.post("/api/schema/redeploy", json={"confirm": name}, headers=bearer("admin"))
        assert (redeploy.status_code, redeploy.json()["code"]) == (409, "conflict")
        assert "geo-assets db migrate" in redeploy.json()["remedy"]


def test_no_two_logins_have_one_password_and_none_has_that_of_the_url(settings: Settings) -> None:
    urls = [api_url(settings, login) for login in API_LOGINS]
    assert [user_of(url) for url in urls] == list(API_LOGINS)
    assert settings.api_database_url is not None
    passwords = {password_of(settings.api_database_url.get_secret_value()), *map(password_of, urls)}
    assert len(passwords) == len(API_LOGINS) + 1


def test_an_api_with_the_pipelines_login_may_not_migrate(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline.declare((tmp_path / "container").as_uri())
    further: dict[str, Any] = {"api_keys": with_keys(), "api_redeploy": True}
    with served(settings_of(pipeline.database_url, pipeline.sources_path, **further)) as client:
        name = client.get("/api/db/stats", headers=bearer("read")).json()["database"]["name"]
        refused = client.post("/api/schema/redeploy", json={"confirm": name}, headers=bearer("admin"))
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
        assert client.get("/readyz").status_code == 200


def test_what_the_database_says_is_logged_and_not_answered(pipeline: Pipeline, tmp_path: Path) -> None:
    write_shapefile(tmp_path / "layers" / "places.shp")
    pipeline.declare((tmp_path / "layers").as_uri(), name="vectors", tables={})
    assert pipeline.run("load_vectors", source="vectors").success
    search: list[dict[str, Any]] = [
        {"token": "next:hush-17"},
        {"query": {"gsd": {"eq": "hush-17"}}, "datetime": "2020-01-01T00:00:00Z/.."},
    ]
    with (
        structlog.testing.capture_logs() as lines,
        served(settings_of(pipeline.database_url, pipeline.sources_path)) as c,
    ):
        answers = [c.post("/stac/search", json=body) for body in search]
        answers.append(c.get("/features/collections/vectors.places/items", params={"filter": "population = 'hush-17'"}))
    for answer in answers:
        assert answer.status_code < 500, answer.text
        assert "hush-17" not in answer.text, answer.text
    assert any("hush-17" in str(line.get("said")) for line in lines)


def test_a_login_that_is_refused_says_what_to_run_and_names_nobody(pipeline: Pipeline) -> None:
    wrong = pipeline.database_url.replace(str(password_of(pipeline.database_url)), "wrong")
    with served(settings_of(wrong, pipeline.sources_path)) as client:
        for path in ("/readyz", "/stac/collections", "/features/collections", "/stac/_mgmt/health", "/api/health"):
            answer = client.get(path)
            assert answer.status_code == 503, (path, answer.text)
            for word in (*API_LOGINS, "127.0.0.1", "password authentication"):
                assert word not in answer.text, (path, answer.text)
        assert "geo-assets db migrate" in client.get("/readyz").json()["remedy"]
