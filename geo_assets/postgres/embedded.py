"""The embedded PostgreSQL cluster: a server of our own below the state folder, so that a first run needs none.

Here: making, starting, stopping and removing that cluster, and its connection URLs. Not here: finding
and running the programs (`geo_assets.postgres.programs`), watching the process
(`geo_assets.postgres.programs`), nor choosing between this cluster and the user's own server
(`geo_assets.postgres.databases`).
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.parse import quote

import psycopg
from psycopg import sql

from geo_assets.errors import DatabaseDiskFull, DatabaseUnavailable, DiskFull
from geo_assets.foreign_errors import DISK_IS_FULL
from geo_assets.postgres.errors import database_errors
from geo_assets.postgres.logins import PIPELINE_LOGIN
from geo_assets.postgres.programs import (
    Identity,
    PostgresInstall,
    Postmaster,
    can_write,
    end_postmaster,
    find_postgres,
    forget_stale_pid,
    init_cluster,
    make_private_folder,
    read_postmaster,
    run_as,
    server_identity,
    wait_until_ready,
    write_as,
)

__all__ = ["SUPERUSER", "EmbeddedPostgres", "PostgresInstall", "find_postgres"]

SUPERUSER = "geo_assets"
START_SECONDS = 120
START_TRIES = 20
LOG_BYTES_MAX = 10_000_000

# 107 bytes less `/.s.PGSQL.65535`; and what needs no quoting in a setting.
_SOCKET_FOLDER = re.compile(r"[\w./-]{1,90}", re.ASCII)

# Each passes by itself: a port taken between our look and the start; backends that outlive, for a
# moment, a postmaster killed with SIGKILL.
_PASSING_TROUBLES = ("could not create any TCP/IP sockets", "pre-existing shared memory block")

_SETTINGS = """\
# Written by geo_assets at each start; your own settings go into postgresql.conf, below the include.
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{sockets}'
unix_socket_permissions = 0700
max_connections = 200
shared_buffers = 256MB
max_wal_size = 2GB
# PgSTAC touches many partitions in one transaction, and assumes a disk without seek times.
max_locks_per_transaction = 256
random_page_cost = 1.1
# Parallel queries keep their data in /dev/shm, of which a container has 64 MB.
max_parallel_workers_per_gather = 0
max_parallel_maintenance_workers = 0
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %d '
"""
_NOT_DURABLE = "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n"


class EmbeddedPostgres:
    """The PostgreSQL cluster of one state folder.

    ``durable=False`` trades safety in a power cut for speed: for tests only.
    """

    def __init__(self, state_folder: Path, *, durable: bool = True) -> None:
        self.state_folder = state_folder.absolute()
        self.durable = durable
        self.log_file = self.state_folder / "logs" / "postgres.log"
        # The folder with the data, or a link to where it is instead.
        self._link = self.state_folder / "postgres"
        self._password_file = self.state_folder / "postgres.password"
        self._pipeline_password_file = self.state_folder / "postgres.pipeline.password"

    def start(self) -> bool:
        """Start the server, making the cluster at first; whether this call started it.

        Raises DatabaseUnavailable, with the end of the server's log, where it does not start.
        """
        with self._lock():
            if read_postmaster(self._data) and wait_until_ready(self._data, seconds=START_SECONDS):
                return False
            self._ensure_home()
            identity = server_identity(self._home)
            if not self._data.exists():
                self._make_cluster(identity)
            forget_stale_pid(self._data, identity)
            make_private_folder(self._sockets, identity)
            for stale in self._sockets.glob(".s.PGSQL.*"):  # its lock names a number that may be reused too
                stale.unlink()
            self._start(identity)
            return True

    def stop(self) -> bool:
        """Shut the server down, ending its connections; whether there was one to stop."""
        with self._lock():
            return end_postmaster(self._data, by=signal.SIGINT)

    def destroy(self) -> None:
        """Stop the server and remove the cluster, wherever it lies; the rest of the state folder stays."""
        with self._lock():
            try:
                end_postmaster(self._data, by=signal.SIGINT, seconds=20)
            except DatabaseUnavailable:
                end_postmaster(self._data, by=signal.SIGQUIT)
            for folder in (self._home, self.folder_outside):
                shutil.rmtree(folder, ignore_errors=True)
            passwords = (self._password_file, self._pipeline_password_file)
            for file in (self._link, *passwords, self.log_file, self.log_file.with_suffix(".log.1")):
                file.unlink(missing_ok=True)

    @contextlib.contextmanager
    def running(self) -> Iterator["EmbeddedPostgres"]:
        """Have the server run inside the block; afterwards stop it only if the block started it."""
        started = self.start()
        try:
            yield self
        finally:
            if started:
                self.stop()

    def is_running(self) -> bool:
        """Whether the server takes connections."""
        postmaster = read_postmaster(self._data)
        return postmaster is not None and postmaster.is_ready

    def url(self, database: str) -> str:
        """The URL of ``database`` over TCP for its superuser; raises DatabaseUnavailable where no server runs."""
        return self._url(database, SUPERUSER, self._password_file)

    def pipeline_url(self, database: str) -> str:
        """The URL of ``database`` over TCP for the login of runs and commands; raises as `url` does."""
        self._require_postmaster()
        if not self._pipeline_password_file.exists():
            with self._lock():  # a cluster that an earlier release made
                if not self._pipeline_password_file.exists():
                    _write_password(self._pipeline_password_file)
        return self._url(database, PIPELINE_LOGIN, self._pipeline_password_file)

    def socket_url(self, database: str) -> str:
        """The connection URL of ``database`` over the unix socket; raises as `url` does."""
        postmaster = self._require_postmaster()
        place = f"host={quote(postmaster.socket_folder, safe='')}&port={postmaster.port}"
        return f"postgresql://{SUPERUSER}:{_read_password(self._password_file)}@/{quote(database)}?{place}"

    def ensure_databases(self, *names: str) -> None:
        """Create those of the databases that do not exist yet."""
        with database_errors(), psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            existing = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
            for name in set(names) - existing:
                # Another process may make the same one between our look and this statement.
                with contextlib.suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Let one process or thread at a time work on this state folder."""
        try:
            (self.state_folder / "logs").mkdir(parents=True, exist_ok=True)
            with (self.state_folder / "postgres.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            if error.errno in DISK_IS_FULL:
                raise DiskFull(
                    f"The embedded PostgreSQL cannot work in {self.state_folder}: {error.strerror}."
                ) from error
            raise DatabaseUnavailable(
                f"The embedded PostgreSQL cannot work in {self.state_folder}: {error}.",
                remedy="Make the folder yours, or set GEO_ASSETS_STATE to another one.",
            ) from error

    @property
    def _home(self) -> Path:
        return self._link.resolve()

    @property
    def _data(self) -> Path:
        return self._home / "data"

    @property
    def folder_outside(self) -> Path:
        """The folder of this cluster where the state folder is no place for it.

        /var/lib before /var/tmp: systemd removes from the latter what was not touched for 30 days.
        """
        digest = hashlib.sha256(os.fsencode(self.state_folder)).hexdigest()[:12]
        parent = "/var/lib" if os.access("/var/lib", os.W_OK) else "/var/tmp"
        return Path(parent).resolve() / f"geo_assets-{os.geteuid()}-{digest}"

    @property
    def _sockets(self) -> Path:
        return self._home if _SOCKET_FOLDER.fullmatch(str(self._home)) else self.folder_outside

    def _require_postmaster(self) -> Postmaster:
        postmaster = read_postmaster(self._data)
        if postmaster is None or not postmaster.is_ready:
            raise DatabaseUnavailable(
                f"The embedded PostgreSQL of {self.state_folder} is not running.", remedy="Run `geo-assets db start`."
            )
        return postmaster

    def _url(self, database: str, user: str, password_file: Path) -> str:
        port = self._require_postmaster().port
        return f"postgresql://{user}:{_read_password(password_file)}@127.0.0.1:{port}/{quote(database)}"

    def _ensure_home(self) -> None:
        """Make the folder that will hold the data: below the state folder if the server's user gets there."""
        if self._link.exists():
            return
        self._link.unlink(missing_ok=True)
        identity = server_identity(self._link)
        if self.folder_outside.exists():
            # Its state folder was deleted by hand, and with it the password: nobody can use it any more.
            make_private_folder(self.folder_outside, identity)  # refuses one that is not ours
            end_postmaster(self.folder_outside / "data", by=signal.SIGQUIT)
            shutil.rmtree(self.folder_outside)
        make_private_folder(self._link, identity)
        if not can_write(identity, self._link):
            self._link.rmdir()
            make_private_folder(self.folder_outside, identity)
            self._link.symlink_to(self.folder_outside)

    def _make_cluster(self, identity: Identity | None) -> None:
        for file in (self._password_file, self._pipeline_password_file):
            _write_password(file)
        options = {"superuser": SUPERUSER, "password": _read_password(self._password_file)}
        with self._open_log() as log:
            if not init_cluster(self._home, identity, **options, durable=self.durable, output=log):
                raise self._failure("The program `initdb` made no cluster")

    def _start(self, identity: Identity | None) -> None:
        pg_ctl = [self._install().program("pg_ctl"), "start", "-w", "-t", str(START_SECONDS), "-D", str(self._data)]
        for _ in range(START_TRIES):
            self._write_settings(identity)
            with self._open_log() as log:
                seen = log.tell()
                if run_as(identity, pg_ctl, output=log).returncode == 0:
                    return
            said = self.log_file.read_bytes()[seen:].decode(errors="replace")
            if not any(trouble in said for trouble in _PASSING_TROUBLES):
                break
            time.sleep(0.5)
        raise self._failure("PostgreSQL did not start")

    def _install(self) -> PostgresInstall:
        """The programs of the version that made the data: no other can read them."""
        version = int((self._data / "PG_VERSION").read_text())
        try:
            return find_postgres(version)
        except DatabaseUnavailable as error:
            raise DatabaseUnavailable(
                f"The embedded cluster was made by PostgreSQL {version}, which is not installed any more.",
                remedy=f"Install postgresql-{version}-postgis-3, or run `make clean` to start over.",
            ) from error

    def _write_settings(self, identity: Identity | None) -> None:
        file = self._data / "geo_assets.conf"
        port = re.search(r"^port = (\d+)", file.read_text(), re.MULTILINE) if file.exists() else None
        settings = _SETTINGS.format(port=_free_port(int(port[1]) if port else 0), sockets=self._sockets)
        write_as(identity, file, text=settings + ("" if self.durable else _NOT_DURABLE))

    def _open_log(self) -> IO[bytes]:
        """Open the server's log as ourselves: the server only inherits it, and may lie where it cannot go."""
        if self.log_file.exists() and self.log_file.stat().st_size > LOG_BYTES_MAX:
            self.log_file.replace(self.log_file.with_suffix(".log.1"))
        return self.log_file.open("ab")

    def _failure(self, what: str) -> DatabaseUnavailable:
        tail = "\n".join(self.log_file.read_text(errors="replace").splitlines()[-15:])
        said = f"{what}; the end of {self.log_file}:\n{tail}\n"
        if os.strerror(errno.ENOSPC) in tail:
            return DatabaseDiskFull(said)
        return DatabaseUnavailable(said, remedy="Read that log; `make clean` starts over.")


def _write_password(file: Path) -> None:
    """Write a new password to ``file``, which no other user may read at any moment, nor finds half written."""
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600, exist_ok=False)
    partial.write_text(secrets.token_urlsafe(24), "ascii")
    partial.replace(file)


def _read_password(file: Path) -> str:
    try:
        return file.read_text("ascii")
    except OSError as error:
        raise DatabaseUnavailable(
            f"The password of the embedded PostgreSQL cannot be read: {error}.",
            remedy="Run as the user who made it, or run `make clean` to start over.",
        ) from error


def _free_port(wanted: int) -> int:
    """``wanted`` if no process listens there, else any free port of 127.0.0.1."""
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise DatabaseUnavailable("No TCP port of 127.0.0.1 is free.")
