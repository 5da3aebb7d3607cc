"""Ten runs over 2,000 blobs, each killed with -9 at a random moment: run again, each ends as if nothing had happened.

The moments are spread from Dagster's start to the end of a run: two by the clock, for the time before there is any
progress, the others by progress, so that they fall amid the work on a fast and on a busy machine alike. KILL_SEED
repeats those of an earlier session.
"""

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from geo_assets.assets.plan import batch_size
from geo_assets.postgres.embedded import EmbeddedPostgres
from tests.dagster_cli import DagsterCli
from tests.pipeline import Pipeline, copied_database, open_pipeline
from tests.rasters import raster_bytes
from tests.waiting import wait_until

pytestmark = pytest.mark.soak

BLOBS, KILLS, KILLS_AT_START = 2_000, 10, 2
SEED = os.environ.get("KILL_SEED") or str(time.time_ns())
CRSS = ("EPSG:32633", "EPSG:32733", "EPSG:3857")
# Each of these is one blob in a hundred; all others are good.
BAD = {7: "not_a_raster", 31: "corrupt", 64: "missing_crs"}
# A worker ends at the end of its chunk; a loaded machine needs the rest.
ENDS_WITHIN_SECONDS = 60
# A commit comes every hundred blobs, some tenths of a second apart: kills also fall between two.
BETWEEN_COMMITS_SECONDS = 0.5

# All of the catalogue and the ledger but what is of one run: its id, its clock, how much of a header it read.
CONTENT = {
    "item": """
        SELECT id, jsonb_build_array(
            collection, geometry::text, datetime, end_datetime,
            content #- '{properties,created}' #- '{properties,updated}'
        )
        FROM pgstac.items
    """,
    "collection": "SELECT id, content FROM pgstac.collections",
    "owner": "SELECT item_id, collection_id || ' ' || source || ' ' || name FROM ledger.item",
    "metadata": "SELECT name, jsonb_build_array(etag, metadata - 'bytes_read') FROM ledger.raster_metadata",
    "blob": """
        SELECT name, jsonb_build_array(etag, described_etag, catalogued_etag, failed_etag, deleted_at)
        FROM ledger.blob
    """,
    "reason": """
        SELECT name, jsonb_build_array(error_code, error_message, permanent, attempts)
        FROM ledger.blob
        WHERE error_code IS NOT NULL
    """,
}
Content = dict[tuple[str, str], Any]


@dataclass(frozen=True)
class Reference:
    """What a run that nobody disturbed leaves behind, and how long it takes from Dagster's start."""

    content: Content
    seconds: float


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,000 files, three in a hundred of them bad."""
    folder = tmp_path_factory.mktemp("container")
    for number in range(BLOBS):
        path = folder / f"{number // 500}" / f"scene_{number:04d}.tif"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content_of(number))
    return folder


def content_of(number: int) -> bytes:
    """The bytes of a file: a raster at a place of its own, or a bad one."""
    kind = BAD.get(number % 100)
    if kind == "not_a_raster":
        return b"no raster at all, whatever its name says"
    crs = None if kind == "missing_crs" else CRSS[number % len(CRSS)]
    raster = raster_bytes(value=number, crs=crs, size=16 + 16 * (number % 4))
    return raster[: len(raster) // 2] if kind == "corrupt" else raster


@pytest.fixture(scope="module")
def reference(
    postgres_cluster: EmbeddedPostgres,
    migrated_template: str,
    folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Reference:
    """An undisturbed run, on a database of its own."""
    here = tmp_path_factory.mktemp("reference")
    with copied_database(postgres_cluster, migrated_template) as url, open_pipeline(url, here) as pipeline:
        cli = command_line(pipeline, folder, here)
        forget_reads(folder)
        began = time.monotonic()
        run_to_the_end(cli, "the undisturbed run")
        seconds = time.monotonic() - began
        assert len(reads_of(folder)) == BLOBS, "this file system does not note when a file is read (noatime)"
        bad = BLOBS // 100
        assert Counter(failure.code for failure in pipeline.failures().values()) == dict.fromkeys(BAD.values(), bad)
        pipeline.check_promise()
        return Reference(content_left(pipeline), seconds)


@pytest.mark.parametrize("number", range(KILLS))
def test_a_run_killed_at_a_random_moment_is_finished_by_the_next_as_if_undisturbed(
    pipeline: Pipeline, folder: Path, reference: Reference, tmp_path: Path, number: int
) -> None:
    alone = number % 2 == 1  # as the kernel does where memory is short; otherwise as an operator or a container does
    told = f"KILL_SEED={SEED}: killed {'alone' if alone else 'with all its processes'}"
    cli = command_line(pipeline, folder, tmp_path)
    forget_reads(folder)
    run = cli.start_job("ingest_rasters")
    go_on_to_random_moment(run, pipeline, number=number, start_seconds=reference.seconds / 3)
    if run.poll() is None:  # one whose moment is the last may have ended
        os.kill(run.pid, signal.SIGKILL) if alone else os.killpg(run.pid, signal.SIGKILL)
    go_on(run, ENDS_WITHIN_SECONDS)
    wait_until(lambda: not living(run.pid), f"when all processes are gone ({told})", seconds=ENDS_WITHIN_SECONDS)
    wait_until(lambda: sessions(pipeline) == 0, f"when PostgreSQL has noticed ({told})", seconds=ENDS_WITHIN_SECONDS)
    told = f"{told}, at {pipeline.status()}"
    read_before, described_before = reads_of(folder), described_at(pipeline)

    forget_reads(folder)
    run_to_the_end(cli, told)
    pipeline.check_promise()
    assert differences(content_left(pipeline), reference.content) == [], told
    kept = {name: moment for name, moment in described_at(pipeline).items() if name in described_before}
    assert kept == described_before, f"what was described is described again: {told}"
    twice = read_before & reads_of(folder)
    assert len(twice) <= batch_size(BLOBS), f"{len(twice)} blobs were read twice for one version: {told}"


def command_line(pipeline: Pipeline, folder: Path, here: Path) -> DagsterCli:
    """The command line on this pipeline, with the files as its source."""
    pipeline.declare(folder.as_uri())
    return DagsterCli(here / "home", pipeline.database_url, pipeline.sources_path, {})


def run_to_the_end(cli: DagsterCli, told: str) -> None:
    status, output = cli.run_job("ingest_rasters")
    assert status == 0, f"{told}\n{output}"


def go_on_to_random_moment(
    run: "subprocess.Popen[str]", pipeline: Pipeline, *, number: int, start_seconds: float
) -> None:
    """Let a run go on to a moment in the ``number``-th part of its start, or of its work."""
    chance = random.Random(f"{SEED} {number}")
    if number < KILLS_AT_START:
        go_on(run, start_seconds * (number + chance.random()) / KILLS_AT_START)
        return
    share = (number - KILLS_AT_START + chance.random()) / (KILLS - KILLS_AT_START)
    while progress(pipeline) < share and go_on(run, 0.02):
        pass
    go_on(run, chance.uniform(0, BETWEEN_COMMITS_SECONDS))


def go_on(run: "subprocess.Popen[str]", seconds: float) -> bool:
    """Let a run go on for so long, reading what it prints; whether it has not ended."""
    with suppress(subprocess.TimeoutExpired):
        run.communicate(timeout=seconds)
    return run.poll() is None


def progress(pipeline: Pipeline) -> float:
    """How much of the work is done, from 0 to 1."""
    ((done,),) = pipeline.query("SELECT count(described_etag) + count(catalogued_etag) FROM ledger.blob")
    return float(done / (2 * BLOBS * (100 - len(BAD)) / 100))


def content_left(pipeline: Pipeline) -> Content:
    """All that a run leaves, by kind and name."""
    return {(kind, name): content for kind, statement in CONTENT.items() for name, content in pipeline.query(statement)}


def differences(left: Content, right: Content) -> list[str]:
    """What differs, a few of it."""
    names = sorted(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))
    return [f"{name}: {left.get(name)} instead of {right.get(name)}" for name in names[:5]]


def described_at(pipeline: Pipeline) -> dict[tuple[str, str], object]:
    """When each version was described."""
    rows = pipeline.query("SELECT name, etag, described_at FROM ledger.raster_metadata")
    return {(name, etag): moment for name, etag, moment in rows}


def forget_reads(folder: Path) -> None:
    """Set back when each file was last read to before it was written: its next read is noted, its etag stays."""
    for path in files(folder):
        os.utime(path, ns=(0, path.stat().st_mtime_ns))


def reads_of(folder: Path) -> set[str]:
    """The files that somebody has read since `forget_reads`."""
    return {path.name for path in files(folder) if path.stat().st_atime_ns > 0}


def files(folder: Path) -> Iterator[Path]:
    return folder.rglob("*.tif")


def living(session: int) -> list[str]:
    """The processes of a session that have not ended: whom a run has started, and who stays when it is killed."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            state, _, _, of_session, *_ = (path / "stat").read_text().rpartition(")")[2].split()
            if int(of_session) == session and state not in "ZX":
                found.append((path / "cmdline").read_text())
    return found


def sessions(pipeline: Pipeline) -> int:
    """How many other connections the database has."""
    others = "datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    ((count,),) = pipeline.query(f"SELECT count(*) FROM pg_stat_activity WHERE {others}")
    return int(count)
