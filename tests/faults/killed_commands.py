"""Commands and jobs as processes that are killed amid their work, and what they work on.

Here: starting them, killing them or their server, and the databases. Not here: what must hold afterwards.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psycopg
from click.testing import CliRunner, Result

from geo_assets.cli.main import main
from geo_assets.postgres.embedded import SUPERUSER, EmbeddedPostgres
from tests.dagster_cli import DagsterCli
from tests.faults.test_random_kills import living
from tests.pipeline import Pipeline, as_user, copied_database
from tests.services import own_environment
from tests.waiting import wait_until

PROGRAM = Path(sys.executable).parent / "geo-assets"
MOMENTS = 10
ENDS_WITHIN_SECONDS = 60

Start = Callable[[Pipeline], "subprocess.Popen[str]"]
Begun = Callable[[Pipeline], bool]


def environment(pipeline: Pipeline) -> dict[str, str]:
    """The variables of a command on this pipeline."""
    here = pipeline.sources_path.parent
    return {
        "GEO_ASSETS_DATABASE_URL": pipeline.database_url,
        "GEO_ASSETS_OWNER_DATABASE_URL": as_user(pipeline.database_url, SUPERUSER),
        "GEO_ASSETS_SOURCES": str(pipeline.sources_path),
        "GEO_ASSETS_STATE": str(here / "state"),
    }


def run(pipeline: Pipeline, *arguments: str) -> Result:
    """A command in this process; anything but an orderly exit is raised."""
    return CliRunner().invoke(main, arguments, env=environment(pipeline), catch_exceptions=False)


def command_environment(pipeline: Pipeline) -> dict[str, str]:
    """The environment of a command on this pipeline that is a process."""
    return own_environment(**environment(pipeline))


def command(
    pipeline: Pipeline, *arguments: str, variables: Mapping[str, str] = MappingProxyType({})
) -> "subprocess.Popen[str]":
    """A command as a process in a session of its own."""
    return subprocess.Popen(
        [PROGRAM, *arguments],
        env={**command_environment(pipeline), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


class Victim:
    """What is killed: how it starts on a database, when its work has begun, and how long that takes once measured."""

    def __init__(self, start: Start, has_begun: Begun) -> None:
        self._start, self._has_begun = start, has_begun
        self.seconds, self.is_measured = 0.0, False

    def measure(self, pipeline: Pipeline) -> None:
        """Find out how long its work takes here and now."""
        with self._begun(pipeline) as process:
            began = time.monotonic()
            output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
        self.seconds, self.is_measured = time.monotonic() - began, True

    def kill(self, pipeline: Pipeline, number: int) -> None:
        """Kill it in the ``number``-th part of its work, and wait until nothing of it is left."""
        with self._begun(pipeline) as process:
            time.sleep(self.seconds * (number + 0.5) / MOMENTS)
            if process.poll() is None:  # one whose moment is the last may have ended
                os.kill(process.pid, signal.SIGKILL) if number % 2 else os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        wait_until(lambda: not living(process.pid), "when all its processes are gone", seconds=ENDS_WITHIN_SECONDS)
        wait_until(lambda: sessions(pipeline) == 0, "when PostgreSQL has noticed", seconds=ENDS_WITHIN_SECONDS)

    @contextmanager
    def _begun(self, pipeline: Pipeline) -> Iterator["subprocess.Popen[str]"]:
        end_sessions(pipeline.owner_url)
        with self._start(pipeline) as process:
            wait_until(lambda: process.poll() is not None or self._has_begun(pipeline), "when the work begins")
            yield process


def sessions(pipeline: Pipeline) -> int:
    """How many connections its database has, seen from another one."""
    query = "SELECT FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'"
    with beside(pipeline.owner_url) as (connection, name):
        return len(connection.execute(query, (name,)).fetchall())


def end_sessions(url: str) -> None:
    """End all connections of a database: tests keep theirs open, so that it would neither be copied nor look unused."""
    query = (
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
    )
    with beside(url) as (connection, name):
        connection.execute(query, (name,))


@contextmanager
def beside(url: str) -> Iterator[tuple[psycopg.Connection[Any], str]]:
    """A connection to another database of the same server, and the name of the one that the URL names."""
    name = str(psycopg.conninfo.conninfo_to_dict(url)["dbname"])
    with psycopg.connect(psycopg.conninfo.make_conninfo(url, dbname="postgres"), autocommit=True) as connection:
        yield connection, name


@contextmanager
def copy_of(cluster: EmbeddedPostgres, name: str) -> Iterator[str]:
    """The URL of a copy of a database for its owner, dropped after the block."""
    end_sessions(cluster.url(name))
    with copied_database(cluster, name) as url:
        yield url


def in_session(pipeline: Pipeline) -> bool:
    """Whether anybody works on the database."""
    return sessions(pipeline) > 0


def has_run(job: str) -> Begun:
    """Whether a run of the job has begun."""
    return lambda pipeline: bool(pipeline.query(f"SELECT FROM runs WHERE pipeline_name = '{job}'"))


def start_job(job: str, *tags: str) -> Start:
    """A job as a process, with Dagster's storage in the catalogue's database."""

    def start(pipeline: Pipeline) -> "subprocess.Popen[str]":
        return dagster(pipeline).popen("job", "execute", "-m", "geo_assets.definitions", "-j", job, *tags)

    return start


def dagster(pipeline: Pipeline) -> DagsterCli:
    """Dagster's command line on this pipeline."""
    here = pipeline.sources_path.parent
    variables = {"GEO_ASSETS_STATE": str(here / "state"), "GEO_ASSETS_SILVER": (here / "silver").as_uri()}
    return DagsterCli(here / "home", pipeline.database_url, pipeline.sources_path, variables)


def finish(start: Start, pipeline: Pipeline) -> None:
    """Run it again, to its end."""
    with start(pipeline) as process:
        output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output


def kill_server(cluster: EmbeddedPostgres) -> None:
    """kill -9 the server and all that it started, at once."""
    with psycopg.connect(cluster.url("postgres")) as connection:
        pids = [pid for (pid,) in connection.execute("SELECT pid FROM pg_stat_activity").fetchall()]
        (postmaster,) = {parent_of(pid) for pid in pids}
    assert postmaster > 1
    for pid in (postmaster, *pids):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
