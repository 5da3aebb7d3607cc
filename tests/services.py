"""The real services that tests run against, started and stopped as processes of our own.

Here: Azurite, Redis, what all processes of the tests share, and what both fixtures and tests ask of processes. Not
here: fixtures (`conftest`).
"""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from geo_assets.postgres.embedded import EmbeddedPostgres
from geo_assets.postgres.logins import password_of

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
    process = _start_azurite(kind, folder, port, persistent=persistent)
    try:
        _wait_for_port(process, port)
        yield process.pid
    finally:
        process.terminate()  # never kill: Azurite then loses what it acknowledged
        process.wait(timeout=30)


def _start_azurite(kind: str, folder: Path, port: int, *, persistent: bool) -> "subprocess.Popen[bytes]":
    program = PROGRAMS / f"azurite-{kind}"
    if not program.exists():
        raise FileNotFoundError(f"{program} is missing: run `make test`, which installs it.")
    keep = ["--location", str(folder / f"{kind}s")] if persistent else ["--inMemoryPersistence"]
    options = [*keep, "--skipApiVersionCheck", "--disableTelemetry", "--silent"]
    command = [str(program), f"--{kind}Host", "127.0.0.1", f"--{kind}Port", str(port), *options]
    with (folder / f"azurite-{kind}.log").open("wb") as log:
        # In a session of its own: Ctrl-C is for those who use it, and they then end it in its turn.
        return subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )


class Shared:
    """What all processes of the tests share below one folder: made by who first asks for it, while others wait."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def once(self, name: str, make: Callable[[Path], str]) -> str:
        """What ``make`` returned, in whichever process that was; it gets a folder to keep things in."""
        with (self._folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            made, home = self._folder / f"{name}.made", self._folder / name
            if not made.exists():
                home.mkdir(exist_ok=True)
                made.write_text(make(home))
            return made.read_text()

    def cluster(self) -> EmbeddedPostgres:
        """The PostgreSQL, running."""
        cluster = EmbeddedPostgres(self._folder / "postgres", durable=False)
        self.once("postgres", lambda _: start_cluster(cluster))
        return cluster

    def azurite(self) -> Azurite:
        """The Azurite, with blobs only."""
        port, pid = self.once("azurite-blob", lambda home: self._azurite_service("blob", home)).split()
        return Azurite(int(port), int(pid))

    def queues(self) -> Azurite:
        """The same with its queue service."""
        port, _ = self.once("azurite-queue", lambda home: self._azurite_service("queue", home)).split()
        return replace(self.azurite(), queue_port=int(port))

    def end(self) -> None:
        """Stop what was started, also what was about to start, and remove the folder."""
        for file in self._folder.glob("*/pid"):
            _end_process(int(file.read_text()))
        if (self._folder / "postgres").exists():
            EmbeddedPostgres(self._folder / "postgres").destroy()
        shutil.rmtree(self._folder, ignore_errors=True)

    @staticmethod
    def _azurite_service(kind: str, home: Path) -> str:
        process = _start_azurite(kind, home, port := free_port(), persistent=False)
        (home / "pid").write_text(str(process.pid))
        _wait_for_port(process, port)
        return f"{port} {process.pid}"


def start_cluster(cluster: EmbeddedPostgres) -> str:
    """Start a PostgreSQL whose owner and pipeline have one password: a test has either URL from the other."""
    cluster.start()
    (cluster.state_folder / "postgres.pipeline.password").write_text(str(password_of(cluster.url("postgres"))))
    return cluster.url("postgres")


def _end_process(pid: int, seconds: float = 30) -> None:
    """End a process that another one may have started, and wait for it."""
    deadline = time.monotonic() + seconds
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        while time.monotonic() < deadline:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            os.kill(pid, 0)
            time.sleep(0.05)


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
