"""`geo-assets demo` in a checkout of its own, from nothing, twice."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from geo_assets.postgres.databases import catalogue_url, databases_running, embedded_postgres
from geo_assets.settings import Settings
from tests.services import PROJECT, own_environment

REASONS = {
    "orthophotos/nairobi_undated.tif": "missing_datetime",
    "scans/plan_sheet_20240220.tif": "missing_crs",
    "sentinel2/S2B_32TLS_20240614_B11.tif": "corrupt",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the demo needs of the project: the paths in sources.yaml are relative to it."""
    checkout = tmp_path / "checkout"
    shutil.copytree(PROJECT / "geo_assets", checkout / "geo_assets", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dagster.yaml", "sources.yaml", "workspace.yaml", "pyproject.toml"):
        shutil.copy(PROJECT / name, checkout)
    return checkout


def demo(checkout: Path) -> str:
    """Run the demo to its end; what it printed."""
    answer = subprocess.run(
        [str(Path(sys.executable).parent / "geo-assets"), "demo"],
        cwd=checkout,
        env=own_environment(PYTHONPATH=str(checkout)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def catalogue(settings: Settings) -> tuple[list[tuple[Any, ...]], dict[str, str]]:
    """The items with the transaction that wrote each, and the reasons of the blobs without one."""
    with databases_running(settings), psycopg.connect(catalogue_url(settings)) as connection:
        items = connection.execute("SELECT id, xmin::text, content::text FROM pgstac.items ORDER BY id").fetchall()
        reasons = connection.execute("SELECT name, error_code FROM ledger.blob WHERE permanent").fetchall()
    return items, dict(reasons)


def test_the_demo_makes_a_catalogue_stops_its_server_and_does_nothing_the_second_time(checkout: Path) -> None:
    settings = Settings(state_folder=checkout / ".geo_assets")
    cluster = embedded_postgres(settings)
    try:
        first = demo(checkout)
        assert not cluster.is_running()
        before, reasons = catalogue(settings)
        assert (len(before), reasons) == (9, REASONS)
        for words in (*REASONS, *REASONS.values(), "make up", "halifax_2023", "This run catalogued 9 items"):
            assert words in first
        picture = settings.state_folder / "demo" / "footprints.png"
        assert picture.read_bytes().startswith(b"\x89PNG")

        second = demo(checkout)
        assert not cluster.is_running()
        assert catalogue(settings) == (before, reasons)
        assert "This run catalogued 0 items" in second
        assert "(0 files written)" in second
    finally:
        cluster.destroy()
