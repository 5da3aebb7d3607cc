"""What a resource is given counts on every way to its bytes, and the settings are read before work, not amid it."""

import re
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import ContainerClient
from azure.storage.queue import QueueClient
from dagster import DagsterInstance, EnvVar

import geo_assets
from geo_assets.definitions import build_definitions
from geo_assets.resources.queues import MessageQueues
from geo_assets.resources.stores import BlobStores, SilverStore
from geo_assets.settings import Settings
from geo_assets.sources.rules import QueueRule
from tests.pipeline import SOURCE, Pipeline, failure_text
from tests.rasters import write_raster
from tests.services import AZURITE_KEY, Azurite

PACKAGE = Path(geo_assets.__file__).parent
MAY_READ_SETTINGS = {"configured.py", "api/app.py", "api/parts.py", "postgres/dagster_storage.py"}
"""Beside the programs themselves: resources, the application of the API, and Dagster's storage as a process starts."""


def test_an_account_of_its_own_lists_reads_and_takes_cogs_without_any_variable(
    pipeline: Pipeline, container: ContainerClient, azurite: Azurite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY_OF_THE_TEST", AZURITE_KEY)
    account: dict[str, Any] = {"account_url": azurite.account_url, "account_key": EnvVar("KEY_OF_THE_TEST")}
    place = f"az://{container.container_name}/silver"
    pipeline.overrides |= {"blob_stores": BlobStores(**account), "silver_store": SilverStore(url=place, **account)}
    write_raster(tmp_path / "a.tif")
    container.upload_blob("in/a.tif", (tmp_path / "a.tif").read_bytes())
    container.upload_blob("in/a.json", b"{}")
    pipeline.declare(f"az://{container.container_name}/in", cogs={})
    for job in ("ingest_rasters", "make_cogs", "snapshot"):
        result = pipeline.run(job)
        assert result.success, failure_text(result)
    (cog,) = pipeline.database.cogs.standing(SOURCE)
    assert cog.href == f"{azurite.account_url}/{container.container_name}/silver/{cog.name_in_place}"
    assert container.get_blob_client(f"silver/{cog.name_in_place}").exists()
    assert pipeline.items()["in/a.tif"]["assets"]["cog"]["href"] == cog.href
    checks = pipeline.run("reconcile").get_asset_check_evaluations()
    assert [each.passed for each in checks if each.check_name == "header_agreement"] == [True]


def test_an_account_of_its_own_stands_before_the_variables(
    container: ContainerClient, azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", "UseDevelopmentStorage=true")
    monkeypatch.setenv("AZURE_STORAGE_QUEUE_URL", "http://127.0.0.1:1/nobody")
    stores = BlobStores(connection_string=azurite.connection_string)
    assert stores.azure_account_url() == azurite.account_url
    assert stores.settings.azure_queue_url is None


def test_queues_of_their_own_account_are_received_from_without_any_variable(
    event_queue: QueueClient, queue_service: Azurite
) -> None:
    event_queue.send_message("hello")
    rule = QueueRule(name="q", storage_queue=event_queue.queue_name)
    urls: dict[str, Any] = {"account_url": queue_service.account_url, "queue_url": queue_service.queue_url}
    for queues in (
        MessageQueues(connection_string=queue_service.connection_string),
        MessageQueues(account_key=AZURITE_KEY, **urls),
    ):
        with queues.open(rule) as queue:
            assert queue.depth() is not None


def test_a_run_reads_the_settings_once_a_resource_whatever_it_does(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        write_raster(tmp_path / "source" / f"{name}.tif")
    pipeline.declare((tmp_path / "source").as_uri())
    monkeypatch.setenv("GEO_ASSETS_DATABASE_URL", pipeline.database_url)
    monkeypatch.setenv("GEO_ASSETS_SOURCES", str(pipeline.sources_path))
    monkeypatch.setenv("GEO_ASSETS_STATE", str(tmp_path / "state"))
    read, build = [], Settings.__init__

    def counted(self: Settings, *arguments: Any, **values: Any) -> None:
        read.append(self)
        build(self, *arguments, **values)

    definitions = build_definitions()
    monkeypatch.setattr(Settings, "__init__", counted)
    with DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def("ingest_rasters").execute_in_process(
            instance=instance, tags={"dagster/partition": SOURCE}
        )
    assert result.success
    assert 1 <= len(read) <= len(definitions.resources or {})


def test_nothing_builds_the_settings_amid_work() -> None:
    building = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if re.search(r"(?<!\w)Settings\(\)", path.read_text()) and path.parent.name not in ("cli", "celery")
    }
    assert building == MAY_READ_SETTINGS
