"""Full disks, and folders that take nothing: each command says so with a code and a remedy, and leaves no part."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import psycopg
import pytest
from click.testing import CliRunner, Result

from geo_assets.cli.demo import write_demo_container
from geo_assets.cli.main import main
from geo_assets.errors import (
    DatabaseBusy,
    DatabaseDiskFull,
    DatabaseMemoryFull,
    DatabaseReadOnly,
    DatabaseStarting,
    DatabaseUnavailable,
    DiskFull,
    GeoAssetsError,
)
from geo_assets.foreign_errors import writing
from geo_assets.ledger.database import Connections
from geo_assets.postgres.embedded import SUPERUSER
from geo_assets.postgres.errors import database_errors, kind_of
from geo_assets.stac.extensions import EXTENSIONS
from geo_assets.stac.schemas import schema_path
from tests.pipeline import Pipeline, as_user, failure_text
from tests.rasters import write_raster
from tests.services import own_environment
from tests.small_disks import files_of_at_most

PROGRAM = Path(sys.executable).parent / "geo-assets"
# Where nobody may write, root included, and what is no folder at all.
UNWRITABLE = [Path("/sys"), Path(__file__), Path(__file__) / "deeper"]
COMMANDS = {
    "backup": ("db", "backup", "{}/catalogue.dump"),
    "geoparquet": ("export", "geoparquet", "{}/items.parquet"),
    "stac": ("export", "stac", "{}/static"),
}


@pytest.fixture
def declared(pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """A source of one raster, as the environment of this process names it."""
    write_raster(tmp_path / "container" / "a.tif", value=1)
    pipeline.declare((tmp_path / "container").as_uri())
    monkeypatch.setenv("GEO_ASSETS_DATABASE_URL", pipeline.database_url)
    monkeypatch.setenv("GEO_ASSETS_OWNER_DATABASE_URL", as_user(pipeline.database_url, SUPERUSER))
    monkeypatch.setenv("GEO_ASSETS_SOURCES", str(pipeline.sources_path))
    monkeypatch.setenv("GEO_ASSETS_STATE", str(tmp_path / "state"))
    return pipeline


@pytest.fixture
def catalogued(declared: Pipeline) -> Pipeline:
    """The catalogue of that source."""
    assert declared.run().success
    return declared


def on_small_disk(folder: Path, size: str, command: list[str], **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a command for which ``folder`` is a disk of this size; the test is skipped where nobody may mount one."""
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    mount = f'mount -t tmpfs -o size={size},mode=777 tmpfs "$0"'
    if subprocess.run([*unshare, "sh", "-c", mount, str(folder)], capture_output=True, check=False).returncode:
        pytest.skip("this kernel lets nobody here mount a disk")
    return subprocess.run(
        [*unshare, "sh", "-c", f'{mount} && exec "$@"', str(folder), *command],
        env=own_environment(**variables),
        capture_output=True,
        text=True,
        check=False,
    )


def run(*arguments: str) -> Result:
    """Run a command in this process; anything but an orderly exit is raised."""
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


@pytest.mark.parametrize("where", UNWRITABLE)
def test_a_folder_that_takes_no_file_is_told_of(declared: Pipeline, where: Path) -> None:
    for command in COMMANDS.values():
        refused = run(*(each.format(where) for each in command))
        assert refused.exit_code == 1, command
        assert "folder_not_writable" in refused.stderr
        assert str(where) in refused.stderr
        assert "→ Let this user write there" in refused.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_a_disk_that_is_full_is_told_of_and_keeps_what_was_there(
    catalogued: Pipeline, command: str, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    arguments = [each.format(folder) for each in COMMANDS[command]]
    with files_of_at_most(1024):
        full = run(*arguments)
    assert full.exit_code == 1
    assert "disk_full" in full.stderr
    assert "→ Free space there" in full.stderr
    assert list(folder.iterdir()) == []
    assert run(*arguments).exit_code == 0


def test_a_backup_on_a_disk_without_room_leaves_the_one_of_before(declared: Pipeline, tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    variables = {name: os.environ[name] for name in os.environ if name.startswith("GEO_ASSETS_")}
    script = 'echo before > "$1/c.dump"; "$2" db backup "$1/c.dump"; echo $?; cat "$1/c.dump"; ls -A "$1"'
    done = on_small_disk(folder, "64k", ["sh", "-c", script, "sh", str(folder), str(PROGRAM)], **variables)
    assert "disk_full" in done.stderr
    assert "No space left on device" in done.stderr.replace("\n", " ")
    assert done.stdout.split() == ["1", "before", "c.dump"]


def test_a_cluster_without_room_is_told_of_and_nobody_is_told_to_remove_it() -> None:
    script = '"$1" db start; status=$?; "$1" db stop; exit $status'
    with tempfile.TemporaryDirectory() as state:  # tmp_path is no place for the user that root starts a server as
        Path(state).chmod(0o755)
        done = on_small_disk(Path(state), "12m", ["sh", "-c", script, "sh", str(PROGRAM)], GEO_ASSETS_STATE=state)
    assert done.returncode == 1, done.stdout
    assert "database_disk_full" in done.stderr
    assert "make clean" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_snapshot_on_a_full_disk_says_so_and_leaves_no_part(
    catalogued: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEO_ASSETS_SILVER", (tmp_path / "silver").as_uri())
    with files_of_at_most(1024):
        failed = catalogued.run("snapshot")
    assert not failed.success
    assert "scratch_full" in failure_text(failed)
    assert "GEO_ASSETS_SCRATCH" in failure_text(failed)
    assert list((tmp_path / "state" / "scratch").iterdir()) == []
    assert catalogued.run("snapshot").success


@pytest.mark.parametrize("command", [["status"], ["status", "--json"], ["plan", "rasters", "--json"], ["--help"]])
def test_an_output_that_takes_no_more_is_no_traceback(declared: Pipeline, command: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([PROGRAM, *command], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "disk_full" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_schemas_that_find_no_room_are_told_of(tmp_path: Path) -> None:
    url = EXTENSIONS[0]
    source = schema_path(tmp_path / "published", url)
    source.parent.mkdir(parents=True)
    source.write_text("{}" + " " * 5000)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "published"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        mirror = f"http://127.0.0.1:{server.server_port}"
        fetch = ("schemas", "fetch", "--mirror", mirror, "--folder")
        with files_of_at_most(1024):
            full = run(*fetch, str(tmp_path / "schemas"))
        refused = run(*fetch, "/sys/schemas")
        server.shutdown()
    assert (full.exit_code, refused.exit_code) == (1, 1)
    assert "disk_full" in full.stderr
    assert "folder_not_writable" in refused.stderr


def test_the_rasters_of_the_demo_find_no_room(tmp_path: Path) -> None:
    with files_of_at_most(1024), pytest.raises(DiskFull), writing(tmp_path):
        write_demo_container(tmp_path)


def test_a_database_whose_disk_is_full_is_not_to_be_started(declared: Pipeline) -> None:
    connections = Connections(declared.owner_url)
    with pytest.raises(DatabaseDiskFull, match="No space left on device") as full, connections.connect() as connection:
        connection.execute("COPY (SELECT repeat('x', 1000000)) TO '/dev/full'")
    assert "Free space on the disk of PostgreSQL's server" in full.value.remedy


def _raise(state: str) -> Callable[[Connections], None]:
    def ask(connections: Connections) -> None:
        with connections.connect() as connection:
            connection.execute(f"DO $$ BEGIN RAISE EXCEPTION 'no more' USING ERRCODE = '{state}'; END $$")

    return ask


def _write_where_only_reads_are(connections: Connections) -> None:
    with connections.connect() as connection:
        connection.execute("SET default_transaction_read_only = on")
        connection.execute("DELETE FROM ledger.source")


@pytest.mark.parametrize(
    ("ask", "kind"),
    [
        (_raise("53100"), DatabaseDiskFull),
        (_raise("53200"), DatabaseMemoryFull),
        (_raise("53300"), DatabaseBusy),
        (_raise("57P03"), DatabaseStarting),
        (_raise("57P01"), DatabaseUnavailable),
        (_write_where_only_reads_are, DatabaseReadOnly),
    ],
)
def test_what_the_server_says_has_its_own_code(
    declared: Pipeline, ask: Callable[[Connections], None], kind: type[GeoAssetsError]
) -> None:
    with pytest.raises(GeoAssetsError) as told:
        ask(Connections(declared.owner_url))
    assert type(told.value) is kind
    assert told.value.remedy


def test_a_server_that_takes_no_more_connections_says_so(declared: Pipeline) -> None:
    """For a role of its own: other tests use the server, too."""
    url = as_user(declared.owner_url, "test_crowded")
    password = psycopg.conninfo.conninfo_to_dict(url)["password"]
    declared.execute(f"CREATE ROLE test_crowded LOGIN PASSWORD '{password}' CONNECTION LIMIT 0")
    try:
        with pytest.raises(DatabaseBusy), database_errors():
            psycopg.connect(url)
    finally:
        declared.execute("DROP ROLE test_crowded")


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("FATAL:  sorry, too many clients already", DatabaseBusy),
        ("FATAL:  remaining connection slots are reserved for roles with SUPERUSER", DatabaseBusy),
        ("FATAL:  the database system is starting up", DatabaseStarting),
        ("FATAL:  the database system is in recovery mode", DatabaseStarting),
        ("FATAL:  the database system is not yet accepting connections", DatabaseStarting),
        ("FATAL:  the database system is shutting down", DatabaseUnavailable),
        ("connection refused", DatabaseUnavailable),
    ],
)
def test_a_refused_connection_is_known_by_its_words(said: str, kind: type[GeoAssetsError]) -> None:
    assert kind_of(None, said) is kind
