"""The command line on a real catalogue: what it prints, as text and as JSON, and its exit status."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import psycopg
import pytest
from click.testing import CliRunner, Result

from geo_assets.cli.main import SUBCOMMANDS, main
from tests.pipeline import SOURCE, Pipeline
from tests.rasters import write_raster
from tests.services import PROJECT, own_environment

COMMANDS = [
    [],
    ["alerts"],
    *(["alerts", name] for name in ("list", "test")),
    ["census"],
    ["cogs"],
    ["collections"],
    *(["collections", name] for name in ("delete", "list", "show", "update")),
    ["db"],
    *(["db", name] for name in ("backup", "destroy", "migrate", "restore", "start", "stop", "url")),
    ["deadletters"],
    *(["deadletters", name] for name in ("drop", "list", "replay", "show")),
    ["deletions"],
    ["demo"],
    ["export"],
    *(["export", name] for name in ("geoparquet", "stac")),
    ["items"],
    *(["items", name] for name in ("delete", "patch", "patches", "show")),
    ["orphans"],
    ["paths"],
    ["plan"],
    ["quarantine"],
    *(["quarantine", name] for name in ("explain", "list", "replay")),
    ["repair"],
    ["schemas"],
    *(["schemas", name] for name in ("fetch", "list")),
    ["serve"],
    ["sources"],
    ["status"],
    ["tables"],
    ["tables", "drop"],
    ["tables", "list"],
    ["up"],
]


def run(*arguments: str) -> Result:
    """Run a command in this process; anything but an orderly exit is raised."""
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def printed(*arguments: str, status: int = 0) -> Any:
    """The JSON document that a command prints, and nothing else."""
    result = run(*arguments)
    assert result.exit_code == status, result.output
    return json.loads(result.stdout)


@pytest.fixture
def declared(pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """A source of three good and two bad files, as the environment of this process names it."""
    folder = tmp_path / "container"
    for number in range(3):
        write_raster(folder / f"scene_{number}.tif", value=number)
    (folder / "[bold]bad.tif").write_text("no raster")
    write_raster(folder / "nowhere.tif", crs=None)
    pipeline.declare(folder.as_uri())
    monkeypatch.setenv("GEO_ASSETS_DATABASE_URL", pipeline.database_url)
    monkeypatch.setenv("GEO_ASSETS_SOURCES", str(pipeline.sources_path))
    return pipeline


@pytest.fixture
def catalogued(declared: Pipeline, tmp_path: Path) -> Pipeline:
    """The catalogue of that source, with one file deleted and one written since."""
    assert declared.run().success
    (tmp_path / "container" / "scene_2.tif").unlink()
    write_raster(tmp_path / "container" / "later.tif", value=9)
    assert declared.run("list_container").success
    return declared


def commands(command: click.Command, path: tuple[str, ...] = ()) -> list[list[str]]:
    """The paths of a command and all below it."""
    below: list[str] = getattr(command, "list_commands", lambda _: [])(click.Context(command))
    found = [list(path)]
    for name in below:
        child = command.get_command(click.Context(command), name)  # type: ignore[attr-defined]
        found += commands(child, (*path, name))
    return found


def test_the_list_of_commands_is_known() -> None:
    assert commands(main) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_each_command_explains_itself(command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert re.search(r"Usage: .+\n\n  [A-Z].{20,}\n", result.stdout)


def test_an_unknown_command_is_refused() -> None:
    assert run("nosuch").exit_code == 2


def test_db_url_prints_the_url_alone() -> None:
    url = "postgresql://me:secret@db.example:5432/catalogue"
    command = [str(Path(sys.executable).parent / "geo-assets"), "db", "url"]
    environment = own_environment(GEO_ASSETS_DATABASE_URL=url)
    answer = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=60)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, f"{url}\n", "")


def test_db_url_of_a_cluster_that_does_not_run_says_how_to_start_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEO_ASSETS_STATE", str(tmp_path))
    result = run("db", "url")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "geo-assets db start" in result.stderr


@pytest.mark.parametrize("command", ["start", "stop"])
def test_a_server_of_the_users_own_is_not_started_or_stopped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    monkeypatch.setenv("GEO_ASSETS_DATABASE_URL", "postgresql://me@db.example/catalogue")
    monkeypatch.setenv("GEO_ASSETS_STATE", str(tmp_path / "state"))
    result = run("db", command)
    assert result.exit_code == 1
    assert "invalid_configuration" in result.stderr
    assert "unset the variable" in result.stderr
    assert not (tmp_path / "state").exists()


@pytest.mark.alters_roles
def test_db_migrate_makes_an_empty_database_ready_and_may_be_repeated(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEO_ASSETS_DATABASE_URL", database_url)
    monkeypatch.setenv("GEO_ASSETS_STATE", str(tmp_path / "state"))
    first, second = run("db", "migrate"), run("db", "migrate")
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert re.match(r"pgstac \d+\.\d+\.\d+, ledger \d{4}\n", first.stdout)
    assert second.stdout == first.stdout
    with psycopg.connect(database_url) as connection:
        for table in ("ledger.blob", "pgstac.items", "public.runs"):
            assert connection.execute("SELECT to_regclass(%s)", [table]).fetchone() != (None,)


def test_status_as_json_has_the_true_counts_and_reasons(catalogued: Pipeline) -> None:
    status = printed("status", SOURCE, "--json")
    since = datetime.fromisoformat(status.pop("pending_since"))
    assert timedelta(0) < datetime.now(UTC) - since < timedelta(hours=1)
    assert {key: value for key, value in status.items() if key not in ("failures", "size_bytes")} == {
        "source": SOURCE,
        "blobs": 5,
        "described": 3,
        "catalogued": 2,
        "pending": 1,
        "cogs_to_link": 0,
        "waiting": 0,
        "waiting_scenes": [],
        "quarantined": 2,
        "deleted": 1,
        "orphaned_files": 0,
        "declared": True,
        "former_items": 0,
        "former_tables": 0,
        "trouble": None,
    }
    reasons = {failure["name"]: (failure["code"], failure["attempts"]) for failure in status["failures"]}
    assert reasons == {"[bold]bad.tif": ("not_a_raster", 1), "nowhere.tif": ("missing_crs", 1)}
    assert all(failure["message"] for failure in status["failures"])
    assert len(printed("status", SOURCE, "--limit", "1", "--json")["failures"]) == 1


def test_status_of_every_source_as_json_is_a_list(declared: Pipeline) -> None:
    declared.run("list_container")
    declared.declare("file:///nosuch", name="second")
    statuses = printed("status", "--json")
    assert [(status["source"], status["blobs"]) for status in statuses] == [(SOURCE, 5), ("second", 0)]


def test_status_as_text_shows_counts_and_reasons_as_they_are(catalogued: Pipeline) -> None:
    result = run("status", SOURCE)
    assert result.exit_code == 0
    assert [word for word in result.stdout.split() if word.isdigit()][:7] == ["5", "3", "2", "1", "0", "2", "1"]
    for word in ("[bold]bad.tif", "not_a_raster", "nowhere.tif", "missing_crs", "pending for"):
        assert word in result.stdout


@pytest.mark.parametrize("name", ["nosuch", "[/nosuch]"])
def test_status_of_an_unknown_source_names_those_there_are(declared: Pipeline, name: str) -> None:
    result = run("status", name)
    assert (result.exit_code, result.stdout) == (1, "")
    assert name in result.stderr
    assert f"it has: {SOURCE}" in " ".join(result.stderr.split())


def test_status_without_a_database_says_how_to_get_one(declared: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEO_ASSETS_DATABASE_URL", "postgresql://me@127.0.0.1:1/none")
    result = run("status", SOURCE, "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "database_unavailable" in result.stderr


def test_sources_that_can_be_reached_are_listed_with_what_matches(declared: Pipeline) -> None:
    (check,) = printed("sources", "--json")
    assert (check["source"], check["collection"], check["error"]) == (SOURCE, SOURCE, None)
    assert (check["seen"], check["matching"]) == (5, 5)
    assert "5 of 5 blobs match" in run("sources").stdout


def test_sources_fails_where_one_cannot_be_reached_and_lists_the_others(declared: Pipeline, tmp_path: Path) -> None:
    declared.declare((tmp_path / "nosuch").as_uri(), name="second")
    checks = printed("sources", "--json", status=1)
    assert {check["source"]: bool(check["error"]) for check in checks} == {SOURCE: False, "second": True}
    text = run("sources")
    assert text.exit_code == 1
    assert "5 of 5 blobs match" in text.stdout
    assert "unreachable" in text.stdout
    assert "is not a folder" in " ".join(text.stderr.split())


def test_sources_names_the_mistake_in_the_file(declared: Pipeline) -> None:
    declared.sources_path.write_text("sources: {rasters: {url: 's3://bucket'}}")
    result = run("sources")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "sources.rasters.collection: Field required" in " ".join(result.stderr.split())


def test_the_list_of_commands_says_what_their_own_help_does() -> None:
    context = click.Context(main)
    for name, (_, words) in SUBCOMMANDS.items():
        command = main.get_command(context, name)
        assert command is not None
        assert command.get_short_help_str(limit=200) == words, name
    listed = " ".join(CliRunner().invoke(main, ["--help"], terminal_width=300).stdout.split())
    for name, (_, words) in SUBCOMMANDS.items():
        assert f"{name} {words}" in listed
