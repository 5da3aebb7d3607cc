"""Vector files made to read, fetch, fill or stop something: each has its outcome, its neighbours their items."""

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from geo_assets.postgres.embedded import EmbeddedPostgres
from geo_assets.postgres.programs import find_postgres
from tests.hostile_vectors import COLLECTION, LOADED, Prey, write_endless, write_hostile, write_tangle
from tests.pipeline import Pipeline, failure_text
from tests.vectors import POINTS, write_geoparquet, write_vector

pytestmark = pytest.mark.attack

SECRET = "correct-horse-battery-staple"
TENANT = "ledger-of-the-other-tenant"
SOURCE = "vectors"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A port beside that notices whoever asks it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


@pytest.fixture
def prey(tmp_path: Path, listener: socket.socket) -> Prey:
    """What lies outside of the folder of the source."""
    (tmp_path / "home").mkdir()
    secret, tenant = tmp_path / "home" / ".env", tmp_path / "tenant.geojson"
    secret.write_text(f"lat,lon,KEY\n1,2,{SECRET}\n")
    tenant.write_text(json.dumps(COLLECTION).replace('"a": 1', f'"a": "{TENANT}"'))
    return Prey(secret, tenant, listener.getsockname()[1])


def write_good(folder: Path) -> set[str]:
    """Three files that are what they say."""
    write_vector(folder / "good_one.gpkg", list(POINTS), driver="GPKG")
    write_vector(folder / "good_two.geojson", list(POINTS), driver="GeoJSON")
    write_geoparquet(folder / "good_three.parquet", POINTS)
    return {"good_one.gpkg", "good_two.geojson", "good_three.parquet"}


def load(pipeline: Pipeline, folder: Path) -> None:
    """Run load_vectors over ``folder``, which is to succeed."""
    pipeline.declare(folder.as_uri(), name=SOURCE, tables={"name": "{slug}"})
    result = pipeline.run("load_vectors", source=SOURCE)
    assert result.success, failure_text(result)


def test_each_hostile_file_has_its_reason_and_takes_nothing_from_elsewhere(
    pipeline: Pipeline,
    tmp_path: Path,
    prey: Prey,
    listener: socket.socket,
    postgres_cluster: EmbeddedPostgres,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_KEY", SECRET)
    monkeypatch.setenv("GEO_ASSETS_WORKER_MEMORY_MB", "1024")
    folder = tmp_path / "uploads"
    expected = write_hostile(folder, prey)
    good = write_good(folder)
    load(pipeline, folder)
    failures = pipeline.failures(SOURCE)
    outcomes = dict.fromkeys(expected, LOADED) | {name: failure.code for name, failure in failures.items()}
    assert {name: code for name, code in outcomes.items() if code != expected[name]} == {}
    assert all(failure.permanent and len(f"{failure.message} {failure.remedy}") > 40 for failure in failures.values())
    assert set(pipeline.items(SOURCE)) == good | {name for name, outcome in expected.items() if outcome == LOADED}
    rows = pipeline.query("SELECT rows FROM ledger.vector_table WHERE name LIKE 'good%'")
    assert rows == [(len(POINTS),)] * len(good)
    pipeline.check_promise(SOURCE)
    database = postgres_cluster.url(urlsplit(pipeline.database_url).path.lstrip("/"))
    dump = subprocess.run([find_postgres().program("pg_dump"), database], capture_output=True, check=True).stdout
    assert b"good_three" in dump
    for stolen in (SECRET, TENANT, Path("/etc/passwd").read_text().partition("\n")[0]):
        assert stolen.encode() not in dump
    with pytest.raises(BlockingIOError):
        listener.accept()


@pytest.mark.parametrize("seconds", [2, pytest.param(20, marks=pytest.mark.soak)])
def test_what_never_ends_is_given_up_in_time_and_its_neighbour_is_loaded(
    seconds: int, pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEO_ASSETS_VECTOR_SECONDS", str(seconds))
    monkeypatch.setenv("GEO_ASSETS_SCRATCH", str(tmp_path / "scratch"))
    folder = tmp_path / "uploads"
    write_vector(folder / "neighbour.gpkg", list(POINTS), driver="GPKG")
    write_endless(folder / "endless.gpkg")
    write_tangle(folder / "tangle.gpkg")
    load(pipeline, folder)
    failures = pipeline.failures(SOURCE)
    assert failures["endless.gpkg"].code == "reader_timeout"
    assert "GEO_ASSETS_VECTOR_SECONDS" in (failures["endless.gpkg"].remedy or "")
    assert failures["tangle.gpkg"].code in ("reader_timeout", "too_large")
    assert set(pipeline.items(SOURCE)) == {"neighbour.gpkg"}
    assert [path for path in (tmp_path / "scratch").rglob("*") if path.is_file()] == []
