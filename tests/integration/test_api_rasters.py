"""/raster on a private container: pixels by the pipeline's own credential, and a typed problem by a wrong one."""

import base64
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import morecantile
import numpy as np
import pytest
import rasterio
from azure.storage.blob import AccountSasPermissions, ContainerClient, PublicAccess, ResourceTypes, generate_account_sas
from pydantic import SecretStr
from rio_tiler.io import Reader

from geo_assets.settings import Settings
from tests.api_server import served, settings_of
from tests.pipeline import SOURCE, Pipeline, failure_text
from tests.rasters import write_raster
from tests.services import AZURITE_ACCOUNT, AZURITE_KEY, Azurite, free_port

ITEM = f"/raster/collections/{SOURCE}/items/gradient"
WRONG_KEY = base64.b64encode(b"a key that is none of this account").decode()


@pytest.fixture
def raster(tmp_path: Path) -> Path:
    """A raster each of whose pixels is another."""
    path = write_raster(tmp_path / "gradient.tif", dtype="int16", nodata=-1)
    with rasterio.open(path, "r+") as dataset:
        dataset.write(np.arange(256, dtype="int16").reshape(16, 16), 1)
    return path


@pytest.fixture
def catalogued(
    pipeline: Pipeline, azurite: Azurite, container: ContainerClient, raster: Path, monkeypatch: pytest.MonkeyPatch
) -> Pipeline:
    """A catalogue of that raster in a private container."""
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string)
    container.upload_blob("scenes/gradient.tif", raster.read_bytes())
    pipeline.declare(f"az://{container.container_name}/scenes")
    result = pipeline.run()
    assert result.success, failure_text(result)
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
    return pipeline


def credential(kind: str, azurite: Azurite) -> dict[str, Any]:
    """The settings of a credential that opens the account."""
    account = {"azure_account_url": azurite.account_url}
    if kind == "connection string":
        return {"azure_connection_string": SecretStr(azurite.connection_string)}
    if kind == "key":
        return {**account, "azure_key": SecretStr(AZURITE_KEY)}
    sas = generate_account_sas(
        AZURITE_ACCOUNT,
        AZURITE_KEY,
        resource_types=ResourceTypes(container=True, object=True),
        permission=AccountSasPermissions(read=True, list=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    return {**account, "azure_sas_token": SecretStr(sas)}


def pixels(client: httpx.Client, place: str) -> Any:
    """The first band of what is served at a place."""
    answer = client.get(f"{ITEM}/{place}")
    assert answer.status_code == 200, answer.text
    return np.load(io.BytesIO(answer.content))[0]


@pytest.mark.parametrize("kind", ["connection string", "key", "SAS"])
def test_pixels_of_a_private_blob_are_those_that_rasterio_reads(
    catalogued: Pipeline, azurite: Azurite, raster: Path, kind: str
) -> None:
    (item,) = catalogued.items().values()
    assert item["assets"]["data"]["href"].startswith(("az://", azurite.account_url))
    with rasterio.open(raster) as dataset, Reader(None, dataset=dataset) as reader:
        west, south, east, north = item["bbox"]
        x, y = (west + east) / 2, (south + north) / 2
        tile = morecantile.tms.get("WebMercatorQuad").tile(x, y, 15)
        expected = reader.tile(tile.x, tile.y, tile.z)
        whole = dataset.read(1)
    settings = settings_of(catalogued.database_url, catalogued.sources_path, **credential(kind, azurite))
    with served(settings) as client:
        np.testing.assert_array_equal(pixels(client, "preview.npy?assets=data&max_size=64"), whole)
        drawn = pixels(client, f"tiles/WebMercatorQuad/{tile.z}/{tile.x}/{tile.y}.npy?assets=data")
        np.testing.assert_array_equal(drawn, expected.data[0])
        assert len(np.unique(drawn)) > 20


def test_a_reader_without_a_key_asks_the_account_that_is_set(
    catalogued: Pipeline, azurite: Azurite, container: ContainerClient, raster: Path
) -> None:
    container.set_container_access_policy(signed_identifiers={}, public_access=PublicAccess.BLOB)
    anonymous: dict[str, Any] = {"azure_account_url": azurite.account_url, "azure_anonymous": True}
    settings = settings_of(catalogued.database_url, catalogued.sources_path, **anonymous)
    with served(settings) as client, rasterio.open(raster) as dataset:
        np.testing.assert_array_equal(pixels(client, "preview.npy?assets=data&max_size=64"), dataset.read(1))


@pytest.mark.parametrize("wrong", ["key", "account", "anonymous"])
def test_a_wrong_credential_is_a_typed_problem_that_tells_no_secret(
    catalogued: Pipeline, azurite: Azurite, wrong: str
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}/{AZURITE_ACCOUNT}"
    settings: dict[str, Any] = {
        "key": {"azure_account_url": azurite.account_url, "azure_key": SecretStr(WRONG_KEY)},
        "account": {"azure_account_url": nobody, "azure_key": SecretStr(AZURITE_KEY)},
        "anonymous": {"azure_account_url": azurite.account_url, "azure_anonymous": True},
    }[wrong]
    with served(settings_of(catalogued.database_url, catalogued.sources_path, **settings)) as client:
        for place in ("info?assets=data", "preview.png?assets=data", "tiles/WebMercatorQuad/0/0/0.png?assets=data"):
            answer = client.get(f"{ITEM}/{place}")
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["code"] in ("unreadable", "forbidden"), answer.text
            assert answer.status_code in (403, 502)
            assert WRONG_KEY not in answer.text
            assert AZURITE_KEY not in answer.text


LISTED = ("a=%00", "a%00=b", "a=%25z", "a=%25s", "sortby=%25s", "sortby=a%0Ab", "sortby=%00")
SENSELESS: dict[str, int] = {
    **{f"searches/list?{asked}": 400 for asked in LISTED},
    **{f"searches/?{asked}": 400 for asked in LISTED},
    "searches/{}/tiles/CDB1GlobalGrid/22/0/0?assets=data": 400,
    "searches/{}/tiles/CDB1GlobalGrid/22/0/0/assets": 400,
    "searches/{}/tiles/WebMercatorQuad/1/0/0?assets=data&colormap=[[1,2]]": 400,
    "colorMaps/viridis?f=png&width=99999&height=99999": 413,
    "colorMaps/viridis?f=npy&height=4097": 413,
}


def test_what_makes_no_sense_is_refused_where_no_raster_is_opened(pipeline: Pipeline) -> None:
    pipeline.sources_path.write_text("sources: {}")
    with served(settings_of(pipeline.database_url, pipeline.sources_path)) as client:
        for search in ({"datetime": "x"}, {"collections": ["\0"]}, {"metadata": {"name": "\0"}}):
            assert client.post("/raster/searches/register", json=search).status_code == 400
        search_id = client.post("/raster/searches/register", json={"collections": ["x"]}).json()["id"]
        answers = {path: client.get(f"/raster/{path.replace('{}', search_id)}").status_code for path in SENSELESS}
        assert answers == SENSELESS
        assert client.get("/raster/searches/list?name=x&sortby=-usecount").status_code == 200
        assert client.get("/raster/colorMaps/viridis?f=png&width=256&height=20").status_code == 200


def test_what_is_written_to_the_env_file_counts_or_says_that_it_waits_for_a_restart(
    catalogued: Pipeline, azurite: Azurite, raster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env_file = tmp_path / "of the project.env"
    monkeypatch.setitem(Settings.model_config, "env_file", env_file)
    preview = "preview.npy?assets=data&max_size=64"
    with (
        served(settings_of(catalogued.database_url, catalogued.sources_path)) as client,
        rasterio.open(raster) as dataset,
    ):
        assert client.get(f"{ITEM}/{preview}").status_code == 500, "there is no account yet"
        assert client.get("/api/health").json()["components"]["settings"]["status"] == "healthy"
        env_file.write_text(f"AZURE_STORAGE_CONNECTION_STRING={azurite.connection_string}\n")
        np.testing.assert_array_equal(pixels(client, preview), dataset.read(1))
        components = client.get("/api/health").json()["components"]
        assert components["settings"]["status"] == components[f"source {SOURCE}"]["status"] == "healthy"

        with env_file.open("a") as file:
            file.write("GEO_ASSETS_API_KEYS=me:read:a-secret-that-nobody-tells\n")
        found = client.get("/api/health")
        waiting = found.json()["components"]["settings"]
        assert (waiting["status"], found.json()["status"]) == ("degraded", "degraded")
        assert "GEO_ASSETS_API_KEYS" in waiting["error"]
        assert "Restart" in waiting["remedy"]
        assert "a-secret" not in found.text
        np.testing.assert_array_equal(pixels(client, preview), dataset.read(1))

        with env_file.open("a") as file:
            file.write("GEO_ASSETS_SMTP_PORT=a-secret-in-the-wrong-line\n")
        invalid = client.get("/api/health")
        assert "GEO_ASSETS_SMTP_PORT" in invalid.json()["components"]["settings"]["error"]
        assert "a-secret" not in invalid.text
        np.testing.assert_array_equal(pixels(client, preview), dataset.read(1))
