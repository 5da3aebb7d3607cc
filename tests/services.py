"""The real services that tests run against, started and stopped as processes of our own.

Here: Azurite, Redis, and what both fixtures and tests ask of processes. Not here: fixtures (`conftest`).
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
PROGRAMS = PROJECT / "node_modules" / ".bin"

# Azurite's fixed development account, published in Microsoft's documentation: no secret.
AZURITE_ACCOUNT = "devstoreaccount1"
AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass(frozen=True, slots=True)
class Azurite:
    """A running Azurite: where its blob service listens, and its queue service where it has one."""

    port: int
    pid: int
    queue_port: int | None = None

    @property
    def account_url(self) -> str:
        """The URL of the account, as AZURE_STORAGE_ACCOUNT_URL takes it."""
        return f"http://127.0.0.1:{self.port}/{AZURITE_ACCOUNT}"

    @property
    def connection_string(self) -> str:
        """What AZURE_STORAGE_CONNECTION_STRING takes."""
        queue = "" if self.queue_port is None else f"QueueEndpoint={self.queue_url};"
        return (
            f"DefaultEndpointsProtocol=http;AccountName={AZURITE_ACCOUNT};AccountKey={AZURITE_KEY};"
            f"BlobEndpoint={self.account_url};{queue}"
        )

    @property
    def queue_url(self) -> str:
        """The URL of the account's queues, as AZURE_STORAGE_QUEUE_URL takes it."""
        return f"http://127.0.0.1:{self.queue_port}/{AZURITE_ACCOUNT}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that point geo_assets here."""
        return {"AZURE_STORAGE_CONNECTION_STRING": self.connection_string}


@contextmanager
def running_azurite(folder: Path, *, port: int | None = None, persistent: bool = False) -> Iterator[Azurite]:
    """Have an Azurite on a free port (or ``port``) inside the block; its log lies in ``folder``.

    It starts empty and forgets all; a ``persistent`` one keeps its blobs in ``folder`` for the next.
    """
    port = port or free_port()
    with _azurite_service("blob", folder, port, persistent=persistent) as pid:
        yield Azurite(port, pid)


@contextmanager
def running_queues(
    folder: Path, blobs: Azurite, *, port: int | None = None, persistent: bool = False
) -> Iterator[Azurite]:
    """Have Azurite's queue service beside ``blobs`` inside the block: both as one account."""
    port = port or free_port()
    with _azurite_service("queue", folder, port, persistent=persistent):
        yield replace(blobs, queue_port=port)


@contextmanager
def _azurite_service(kind: str, folder: Path, port: int, *, persistent: bool) -> Iterator[int]:
    program = PROGRAMS / f"azurite-{kind}"
    if not program.exists():
        raise FileNotFoundError(f"{program} is missing: run `make test`, which installs it.")
    keep = ["--location", str(folder / f"{kind}s")] if persistent else ["--inMemoryPersistence"]
    options = [*keep, "--skipApiVersionCheck", "--disableTelemetry", "--silent"]
    command = [str(program), f"--{kind}Host", "127.0.0.1", f"--{kind}Port", str(port), *options]
    with (folder / f"azurite-{kind}.log").open("wb") as log:
        # In a session of its own: Ctrl-C is for those who use it, and they then end it in its turn.
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait_for_port(process, port)
        yield process.pid
    finally:
        process.terminate()  # never kill: Azurite then loses what it acknowledged
        process.wait(timeout=30)


@contextmanager
def running_redis(folder: Path) -> Iterator[int]:
    """Have a Redis that keeps nothing on disk inside the block; its port."""
    # Debian's package of the tools holds the server under another name, without a service that starts by itself.
    program = shutil.which("redis-server") or shutil.which("redis-check-rdb")
    if program is None:
        raise FileNotFoundError("redis-server is missing: run `make test`, which installs it.")
    port = free_port()
    options = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no", "--dir", str(folder)]
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen(
            ["redis-server", *options], executable=program, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        _wait_for_port(process, port)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=30)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def own_environment(**variables: str) -> dict[str, str]:
    """The environment for a child process: ours without any variable geo_assets or Dagster reads, and these."""
    foreign = ("GEO_ASSETS_", "AZURE_", "DAGSTER_", "PG")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)} | variables


def _wait_for_port(process: subprocess.Popen[bytes], port: int, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with exit code {process.returncode}.")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"{process.args!r} does not listen on port {port} after {seconds:.0f} s.")
