"""/api/health on real stores and queues: each dependency with latency and remedy, in bounded time, and no secret."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.storage.blob import ContainerClient
from azure.storage.queue import QueueClient
from pydantic import SecretStr

from geo_assets.settings import Settings
from tests.api_server import served
from tests.pipeline import SOURCE, Pipeline
from tests.services import AZURITE_ACCOUNT, AZURITE_KEY, Azurite

MESSAGE = "a message that stays"


@pytest.fixture
def declared(
    pipeline: Pipeline,
    queue_service: Azurite,
    event_queue: QueueClient,
    container: ContainerClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Pipeline:
    """A source with its queue, of which a message waits, and a queue that does not exist."""
    monkeypatch.setitem(Settings.model_config, "env_file", tmp_path / "no.env")
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", queue_service.connection_string)
    monkeypatch.setenv("GEO_ASSETS_SILVER", f"az://{container.container_name}/silver")
    monkeypatch.setenv("GEO_ASSETS_SCRATCH", str(tmp_path / "scratch"))
    pipeline.declare(f"az://{container.container_name}/scenes")
    pipeline.declare_queue("changes", storage_queue=event_queue.queue_name)
    pipeline.declare_queue("missing", storage_queue="there-is-no-such-queue")
    event_queue.send_message(MESSAGE)
    return pipeline


def settings(pipeline: Pipeline) -> Settings:
    """The environment's settings, on this pipeline's database."""
    return Settings(database_url=SecretStr(pipeline.database_url), sources_file=pipeline.sources_path)


def test_each_dependency_is_looked_at_and_nothing_is_taken_or_told(
    declared: Pipeline, event_queue: QueueClient
) -> None:
    with served(settings(declared)) as client:
        answer = client.get("/api/health")
    components: dict[str, dict[str, Any]] = answer.json()["components"]
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    healthy = {"database", "settings", "output location", "scratch", f"source {SOURCE}", "queue changes"}
    assert {name for name, each in components.items() if each["status"] == "healthy"} == healthy
    assert components["queue changes"]["detail"]["messages_about"] == 1
    assert components["scratch"]["detail"]["free_bytes"] > 0
    assert components["queue missing"]["status"] == "unhealthy"
    assert "there-is-no-such-queue" in components["queue missing"]["error"]
    assert all(each["milliseconds"] >= 0 for each in components.values())
    assert all(each["remedy"] for each in components.values() if each["status"] != "healthy")
    assert AZURITE_KEY not in answer.text
    assert MESSAGE not in answer.text
    (waiting,) = event_queue.peek_messages()
    assert waiting.content == MESSAGE


def test_what_cannot_be_written_is_told_with_what_to_do(
    declared: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("GEO_ASSETS_SILVER", (tmp_path / "file" / "silver").as_uri())
    monkeypatch.setenv("GEO_ASSETS_SCRATCH", str(tmp_path / "file"))
    with served(settings(declared)) as client:
        components = client.get("/api/health").json()["components"]
    for name in ("output location", "scratch"):
        assert components[name]["status"] == "unhealthy", name
        assert str(tmp_path / "file") in components[name]["error"]
        assert components[name]["remedy"]


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=500) as server:
        yield server.getsockname()[1]


def test_a_store_that_hangs_is_told_in_time_and_holds_up_nobody(
    declared: Pipeline, silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_URL", f"http://127.0.0.1:{silent}/{AZURITE_ACCOUNT}")
    monkeypatch.setenv("AZURE_STORAGE_QUEUE_URL", f"http://127.0.0.1:{silent}/{AZURITE_ACCOUNT}")
    monkeypatch.setenv("AZURE_STORAGE_KEY", AZURITE_KEY)
    for number in range(12):
        declared.declare(f"az://hangs/{number}", name=f"hangs{number}")
    with served(settings(declared)) as client, ThreadPoolExecutor(3) as callers:

        def health() -> httpx.Response:
            return client.get("/api/health", timeout=60)

        began = time.monotonic()
        answers = [callers.submit(health) for _ in range(3)]
        time.sleep(2)
        asked = time.monotonic()
        assert client.get("/readyz", timeout=60).status_code == 200
        assert time.monotonic() - asked < 5, "while the looks hang"
        components = [answer.result().json()["components"] for answer in answers]
        assert time.monotonic() - began < 30
    for each in components:
        assert each["database"]["status"] == each["settings"]["status"] == "healthy"
        stores = [name for name in each if name.startswith(("source ", "queue ")) or name == "output location"]
        assert len(stores) == 16
        assert {each[name]["status"] for name in stores} == {"unhealthy"}
        assert all(each[name]["remedy"] for name in stores)
