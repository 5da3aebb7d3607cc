"""The API as a server of this process, for tests: real HTTP, real database, no login unless a test wants one.

Here: what tests of the API share. Not here: the pipeline whose catalogue it serves (`tests.pipeline`).
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from pydantic import SecretStr

from geo_assets.api.app import create_app
from geo_assets.api.gate import parse_proxies
from geo_assets.cli.serve import server_config
from geo_assets.settings import Settings
from tests.services import free_port, own_environment

KEYS = {scope: f"a-key-for-tests-of-{scope}" for scope in ("read", "submit", "write", "admin")}


def settings_of(database_url: str, sources_path: Path, **further: Any) -> Settings:
    """The settings of an API on this database and these sources."""
    return Settings(_env_file=None, database_url=SecretStr(database_url), sources_file=sources_path, **further)


def with_keys() -> SecretStr:
    """A key a scope, as the setting takes them."""
    return SecretStr(" ".join(f"{scope}er:{scope}:{key}" for scope, key in KEYS.items()))


@contextmanager
def served(settings: Settings, *, host: str = "127.0.0.1", behind_proxy: str | None = None) -> Iterator[httpx.Client]:
    """A client of the API inside the block."""
    port = free_port()
    proxies = parse_proxies(behind_proxy) if behind_proxy else None
    server = uvicorn.Server(server_config(create_app(settings), host=host, port=port, proxies=proxies))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not server.started:
            assert thread.is_alive(), "the API ended"
            assert time.monotonic() < deadline, "the API does not start"
            time.sleep(0.02)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(timeout=30)


@contextmanager
def served_by_command(database_url: str, sources_path: Path, **variables: str) -> Iterator[httpx.Client]:
    """A client of the API as `geo-assets serve` serves it, in a process of its own that may die of a request."""
    with serving_process(database_url, sources_path, log=Path(os.devnull), **variables) as (client, _):
        yield client


@contextmanager
def serving_process(
    database_url: str, sources_path: Path, *, log: Path, **variables: str
) -> Iterator[tuple[httpx.Client, int]]:
    """The same with the process's id, which writes to ``log``."""
    port = free_port()
    own = {"GEO_ASSETS_DATABASE_URL": database_url, "GEO_ASSETS_SOURCES": str(sources_path)}
    environment = own_environment(**own, **variables)
    command = [str(Path(sys.executable).with_name("geo-assets")), "serve", "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, cwd=sources_path.parent, stdout=output, stderr=output)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            deadline = time.monotonic() + 180
            while not _answers(client):
                assert process.poll() is None, "the API ended"
                assert time.monotonic() < deadline, "the API does not start"
                time.sleep(0.1)
            yield client, process.pid
            assert process.poll() is None, "the API died"
    finally:
        process.terminate()
        process.wait(timeout=30)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/livez").status_code == 200
    except httpx.TransportError:
        return False


def bearer(scope: str) -> dict[str, str]:
    """The header of whoever has the key of this scope."""
    return {"Authorization": f"Bearer {KEYS[scope]}"}
