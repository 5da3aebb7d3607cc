"""The workers that read rasters and make COGs: told of their one store only, and enclosed in it."""

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from azure.storage.blob import AccountSasPermissions, ContainerClient, ResourceTypes, generate_account_sas

from geo_assets.cogs.writer import CogOutcome, CogTask, MadeCog, cog_pool, make_cogs
from geo_assets.errors import GeoAssetsError, Unauthorized
from geo_assets.models import BlobRef, RasterMetadata
from geo_assets.raster.reader import read_headers
from geo_assets.resources.stores import BlobStores
from geo_assets.settings import Settings
from geo_assets.sources.cog_rules import CogRule
from geo_assets.sources.source import CollectionRule, Source
from geo_assets.storage import blob_stores
from geo_assets.storage.blob_stores import open_store, store_access
from geo_assets.workers.enclosure import Enclosure, this_kernel
from geo_assets.workers.pool import shared_pool
from tests.certificates import write_certificate
from tests.faults.test_enclosure import outcome
from tests.rasters import write_raster
from tests.services import AZURITE_ACCOUNT, AZURITE_KEY, Azurite, own_environment

pytestmark = pytest.mark.attack

PLANTED = {
    "GEO_ASSETS_DATABASE_URL": "postgresql://geo:planted-database@host/db",
    "GEO_ASSETS_API_KEYS": "planted-api-key=admin",
    "GEO_ASSETS_ALERT_WEBHOOKS": "ops=https://hooks.example/planted-webhook",
    "GEO_ASSETS_SMTP_PASSWORD": "planted-password",
    "AZURE_CLIENT_SECRET": "planted-client-secret",
    "AZURE_SERVICEBUS_CONNECTION_STRING": "Endpoint=sb://x/;SharedAccessKey=planted-bus",
    "DAGSTER_POSTGRES_URL": "postgresql://dagster:planted-dagster@host/db",
}
needs_enclosure = pytest.mark.skipif(
    this_kernel().landlock < 1 or not this_kernel().filters_calls, reason="this kernel holds too little"
)


def source_at(url: str) -> Source:
    """A source there."""
    return Source(name="s", url=url, collection=CollectionRule(id="c", description="d"), cogs=CogRule())


def blobs_of(source: Source) -> list[BlobRef]:
    """What a listing finds."""
    with open_store(source, Settings()) as store:
        return [blob for page in store.list_pages(source.prefix) for blob in page]


def read(source: Source) -> list[RasterMetadata]:
    """The metadata of each raster of ``source``, read by enclosed workers; raises what went wrong."""
    results = []
    for reading in read_headers(
        source, blobs_of(source), access=partial(BlobStores().access, source), settings=Settings()
    ):
        if isinstance(reading.result, GeoAssetsError):
            raise reading.result
        results.append(reading.result)
    return results


def make(source: Source, scratch: Path) -> list[MadeCog]:
    """The COG of each raster of ``source``, made by enclosed workers; raises what went wrong."""
    settings, tasks, made = Settings(), [], []
    for number, (blob, metadata) in enumerate(zip(blobs_of(source), read(source), strict=True)):
        (folder := scratch / str(number)).mkdir(parents=True)
        tasks.append(CogTask(blob, metadata, folder, 1))
    access = store_access(source, settings)
    assert source.cogs is not None
    with cog_pool(settings, processes=1, scratch=scratch, access=access) as pool:
        for outcome in pool.map(partial(make_cogs, source.cogs, access), tasks, chunk_size=1, lost=CogOutcome):
            if isinstance(outcome.result, GeoAssetsError):
                raise outcome.result
            made.append(outcome.result)
    return made


@pytest.fixture(autouse=True)
def no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """No storage account is configured."""
    for name in list(os.environ):
        if name.startswith("AZURE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GEO_ASSETS_WORKERS", "1")


def test_a_folder_is_read_and_cogs_are_made_of_it(tmp_path: Path) -> None:
    write_raster(tmp_path / "in" / "a.tif")
    (made,) = make(source_at((tmp_path / "in").as_uri()), tmp_path / "scratch")
    assert made.path.is_file()


def test_a_folder_that_was_made_again_is_read(tmp_path: Path) -> None:
    for _ in range(2):
        write_raster(tmp_path / "in" / "a.tif")
        assert len(read(source_at((tmp_path / "in").as_uri()))) == 1
        shutil.rmtree(tmp_path / "in")


def account_sas() -> str:
    """A SAS token that may list and read."""
    return generate_account_sas(
        AZURITE_ACCOUNT,
        AZURITE_KEY,
        resource_types=ResourceTypes(container=True, object=True),
        permission=AccountSasPermissions(read=True, list=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )


@pytest.mark.parametrize("kind", ["connection string", "key", "sas", "localhost"])
def test_a_container_is_read_and_cogs_are_made_of_it(
    kind: str, azurite: Azurite, container: ContainerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_raster(tmp_path / "a.tif")
    container.upload_blob("a.tif", (tmp_path / "a.tif").read_bytes())
    if kind == "connection string":
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string)
    else:
        url = azurite.account_url.replace("127.0.0.1", "localhost") if kind == "localhost" else azurite.account_url
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_URL", url)
        secret = ("AZURE_STORAGE_SAS_TOKEN", account_sas()) if kind == "sas" else ("AZURE_STORAGE_KEY", AZURITE_KEY)
        monkeypatch.setenv(*secret)
    (made,) = make(source_at(f"az://{container.container_name}"), tmp_path / "scratch")
    assert made.path.is_file()


def said_by(code: str, variables: dict[str, str]) -> Any:
    """What the code prints as JSON, in a process of its own."""
    run = subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False, timeout=60
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


class _Identity(BaseHTTPRequestHandler):
    """What a host in Azure asks for its tokens: each is another one, and about to expire."""

    issued = 0

    def do_GET(self) -> None:
        """A token."""
        _Identity.issued += 1
        answer = {"access_token": f"token-{_Identity.issued}", "expires_on": str(int(time.time()) + 60)}
        _answer(self, json.dumps({**answer, "resource": "x", "token_type": "Bearer"}).encode(), status=200)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _TokenStore(BaseHTTPRequestHandler):
    """A store that has the same raster under each name, and remembers by which tokens it was asked."""

    content = b""
    tokens: ClassVar[set[str]] = set()

    def do_GET(self) -> None:
        """The range that is asked for."""
        _TokenStore.tokens.add(self.headers["Authorization"])
        start, end = (int(each) for each in self.headers["Range"].removeprefix("bytes=").split("-"))
        content = self.content[start : end + 1]
        span = f"bytes {start}-{start + len(content) - 1}/{len(self.content)}"
        _answer(self, content, status=206, **{"Content-Range": span, "ETag": '"1"'})

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _answer(handler: BaseHTTPRequestHandler, content: bytes, *, status: int, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Last-Modified", "Mon, 06 May 2024 00:00:00 GMT")
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler], certificate: Path | None = None) -> Iterator[str]:
    """A server on a free port, over TLS where there is a certificate; its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        if certificate is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(certificate)
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"{'https' if certificate else 'http'}://localhost:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_managed_identity_stays_with_the_run_and_each_chunk_gets_a_fresh_token(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif")
    certificate = write_certificate(tmp_path)
    _TokenStore.content = (tmp_path / "a.tif").read_bytes()
    trusted = {"SSL_CERT_FILE": str(certificate), "IDENTITY_HEADER": "planted-identity"}
    with serving(_Identity) as identity, serving(_TokenStore, certificate) as store:
        url = f"{store}/{AZURITE_ACCOUNT}"
        variables = own_environment(IDENTITY_ENDPOINT=identity, AZURE_STORAGE_ACCOUNT_URL=url, **trusted)
        code = f"from {__name__} import *; read_forty({len(_TokenStore.content)})"
        assert said_by(code, variables) == {"read": 40, "errors": []}
    assert len(_TokenStore.tokens) == 3, "one for each chunk"
    assert all(token.startswith("Bearer token-") for token in _TokenStore.tokens)


def read_forty(size_bytes: int) -> None:
    """In a process: read forty rasters, of which each chunk has sixteen."""
    day = datetime(2024, 5, 6, tzinfo=UTC)
    blobs = [BlobRef(name=f"{n}.tif", etag="1", size_bytes=size_bytes, last_modified=day) for n in range(40)]
    source, settings = source_at("az://bronze"), Settings(GEO_ASSETS_WORKERS=2)
    readings = list(read_headers(source, blobs, access=partial(BlobStores().access, source), settings=settings))
    errors = [str(each.result) for each in readings if isinstance(each.result, GeoAssetsError)]
    print(json.dumps({"read": len(readings), "errors": errors}))  # noqa: T201


def test_without_an_identity_the_store_is_not_authorized(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "somewhere")
    blob_stores.default_credential.cache_clear()
    with pytest.raises(Unauthorized):
        store_access(source_at("az://bronze"), Settings())
    blob_stores.default_credential.cache_clear()


def test_what_opens_a_store_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "somewhere")
    monkeypatch.setenv("AZURE_STORAGE_KEY", "planted")
    monkeypatch.setenv("https_proxy", "http://me:planted@proxy.example:8080")
    access = store_access(source_at("az://bronze"), Settings())
    assert "planted" not in repr(access)
    assert access.enclosure == Enclosure(ports=(443, 8080), names=True)


def try_all(
    paths: Sequence[Path], address: tuple[str, int], tasks: Sequence[str], start: Callable[[int], None]
) -> list[dict[str, str]]:
    """In a worker: what comes of opening, listing, writing, connecting and starting a program."""
    found = {}
    for path in paths:
        found[path.name] = outcome(lambda path=path: os.listdir(path) if path.is_dir() else path.read_bytes())  # type: ignore[misc]
        found[f"{path.name}, written"] = outcome(
            lambda path=path: (path / "new" if path.is_dir() else path).open("a").close()  # type: ignore[misc]
        )
    if "planted" in Path("/proc/self/environ").read_text() + str(os.environ):
        found["secret in the environment"] = "done"
    found["connect"] = outcome(lambda: socket.create_connection(address).close())
    found["udp"] = outcome(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    found["program"] = outcome(lambda: subprocess.run(["true"], check=True))
    start(0)
    return [found for _ in tasks]


def attack(folder: Path, port: int) -> None:
    """In a process that holds this module already in what its workers are forked from; prints what came of it."""
    settings, access = Settings(), store_access(source_at((folder / "in").as_uri()), Settings())
    paths = [folder / "in", folder / "in" / "a.tif", folder / "neighbour", folder / "scratch", folder / ".env"]
    work = partial(try_all, [*paths, Path("/etc/passwd"), Path.home()], ("127.0.0.1", port))
    raster = list(shared_pool(settings, access.enclosure).map(work, ["x"], chunk_size=1, lost=_raise))
    with cog_pool(settings, processes=1, scratch=folder / "scratch", access=access) as pool:
        cog = list(pool.map(work, ["x"], chunk_size=1, lost=_raise))
    print(json.dumps({"raster": raster[0], "cog": cog[0]}))  # noqa: T201


def _raise(_: str, error: GeoAssetsError) -> dict[str, str]:
    raise error


@needs_enclosure
def test_a_worker_reaches_its_store_and_scratch_only(port: int, tmp_path: Path) -> None:
    write_raster(tmp_path / "in" / "a.tif")
    for name in ("neighbour", "scratch", "site"):
        (tmp_path / name).mkdir()
    (tmp_path / ".env").write_text("GEO_ASSETS_DATABASE_URL=planted")
    (tmp_path / "site" / "sitecustomize.py").write_text(
        f'import sys\nif "forkserver" in " ".join(sys.orig_argv):\n    import {__name__}'
    )
    code = f"from {__name__} import *; attack(Path({str(tmp_path)!r}), {port})"
    root = str(Path(__file__).parents[2])
    variables = own_environment(PYTHONPATH=f"{tmp_path / 'site'}{os.pathsep}{root}", GEO_ASSETS_WORKERS="1")
    run = subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False, timeout=60
    )
    assert run.returncode == 0, run.stderr
    outcomes = json.loads(run.stdout)
    own = {"in", "a.tif"}
    for worker, reached in {"raster": own, "cog": own | {"scratch", "scratch, written"}}.items():
        assert {name for name, result in outcomes[worker].items() if result == "done"} == reached
        assert set(outcomes[worker].values()) == {"done", "PermissionError"}


def test_a_live_worker_holds_no_secret_but_that_of_its_store(
    azurite: Azurite, container: ContainerClient, tmp_path: Path
) -> None:
    """All of its memory is searched: what it was told before its last task would still lie there."""
    write_raster(tmp_path / "a.tif")
    container.upload_blob("a.tif", (tmp_path / "a.tif").read_bytes())
    code = f"from {__name__} import *; print_workers({f'az://{container.container_name}'!r})"
    variables = own_environment(
        **PLANTED,
        GEO_ASSETS_WORKERS="1",
        AZURE_STORAGE_ACCOUNT_URL=azurite.account_url,
        AZURE_STORAGE_SAS_TOKEN=account_sas(),
    )
    run = subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False, timeout=60
    )
    assert run.returncode == 0, run.stderr
    workers = json.loads(run.stdout)
    assert len(workers) == 2, "the server that they are forked from, and a worker"
    for worker in workers:
        assert "planted" not in worker["environment"]
        assert not worker["planted"]
    assert [worker["own"] for worker in workers] == [False, True]


def print_workers(url: str) -> None:
    """In a process with secrets: read a raster, then look at its workers from outside."""
    assert len(read(source_at(url))) == 1
    processes = [pid for pid in _children(os.getpid()) if "forkserver" in Path(f"/proc/{pid}/cmdline").read_text()]
    processes += [worker for pid in list(processes) for worker in _children(pid)]
    own = os.environ["AZURE_STORAGE_SAS_TOKEN"].rsplit("sig=", 1)[1].encode()
    found = []
    for pid in processes:
        told = _memory(pid)
        found.append(
            {
                "environment": Path(f"/proc/{pid}/environ").read_text(),
                "own": any(own in each for each in told),
                "planted": any(b"planted-" in each for each in told),
            }
        )
    print(json.dumps(found))  # noqa: T201


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _memory(pid: int) -> list[bytes]:
    """All that the process can write to, and did: what it was told lies there."""
    regions, span = [], (0, 0)
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
            if found := re.match("([0-9a-f]+)-([0-9a-f]+) (..)", line):
                span = (int(found[1], 16), int(found[2], 16)) if found[3] == "rw" else (0, 0)
            elif span[1] and re.match(r"Rss:\s+[1-9]", line):
                with suppress(OSError):
                    regions.append(os.pread(memory.fileno(), span[1] - span[0], span[0]))
    return regions
