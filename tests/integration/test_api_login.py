"""The API on a login of its own, which is nothing by itself and may only act as the three roles."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from geo_assets.databases import API_ROLE, LOADER_ROLE, READER_ROLE
from tests.api_server import bearer, served, settings_of, with_keys
from tests.integration.test_api_security import COLLECTION, item
from tests.pipeline import SOURCE, Pipeline
from tests.rasters import write_raster
from tests.vectors import write_shapefile


@pytest.fixture
def login_url(pipeline: Pipeline) -> Iterator[str]:
    """The URL of the pipeline's database for a login as docs/operate/security.md makes it."""
    name, password = f"web_{secrets.token_hex(4)}", secrets.token_hex(16)
    with psycopg.connect(pipeline.database_url, autocommit=True) as connection:
        make = sql.SQL("CREATE ROLE {} LOGIN NOINHERIT PASSWORD {}")
        connection.execute(make.format(sql.Identifier(name), sql.Literal(password)))
        roles = sql.SQL(", ").join(map(sql.Identifier, (READER_ROLE, LOADER_ROLE, API_ROLE)))
        connection.execute(sql.SQL("GRANT {} TO {}").format(roles, sql.Identifier(name)))
        parts = conninfo_to_dict(pipeline.database_url)
        yield f"postgresql://{name}:{password}@{parts['host']}:{parts['port']}/{parts['dbname']}"
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def test_the_api_needs_no_more_than_the_three_roles(pipeline: Pipeline, login_url: str, tmp_path: Path) -> None:
    write_raster(tmp_path / "container" / "a.tif")
    pipeline.declare((tmp_path / "container").as_uri())
    assert pipeline.run().success
    write_shapefile(tmp_path / "layers" / "places.shp")
    pipeline.declare((tmp_path / "layers").as_uri(), name="vectors", tables={})
    assert pipeline.run("load_vectors", source="vectors").success
    settings = settings_of(login_url, pipeline.sources_path, api_keys=with_keys(), api_redeploy=True)
    with served(settings) as client:
        assert client.get("/readyz").status_code == 200
        (found,) = client.post("/stac/search", json={"collections": [SOURCE]}, headers=bearer("read")).json()[
            "features"
        ]
        picture = f"/raster/collections/{SOURCE}/items/{found['id']}/preview.png?assets=data"
        assert client.get(picture, headers=bearer("read")).status_code == 200
        register = client.post("/raster/searches/register", json={"collections": [SOURCE]}, headers=bearer("submit"))
        assert register.status_code == 200
        assert client.get("/features/collections/vectors.places/items", headers=bearer("read")).status_code == 200
        for path in ("/api/db/stats", "/api/sources", "/api/metrics/comparison", "/metrics"):
            assert client.get(path, headers=bearer("read")).status_code == 200, path
        assert client.post("/stac/collections", json=COLLECTION, headers=bearer("write")).status_code == 201
        posted = client.post("/stac/collections/mine/items", json=item("one", "a.tif"), headers=bearer("write"))
        assert posted.status_code == 201
        assert client.delete("/stac/collections/mine", headers=bearer("write")).status_code == 200
        name = client.get("/api/db/stats", headers=bearer("read")).json()["database"]["name"]
        redeploy = client.post("/api/schema/redeploy", json={"confirm": name}, headers=bearer("admin"))
        assert redeploy.status_code >= 500
    with psycopg.connect(login_url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SELECT FROM ledger.blob")
