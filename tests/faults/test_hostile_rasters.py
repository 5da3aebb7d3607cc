"""A corpus with a crasher, a hanger and a memory bomb: 200 items, three typed reasons, and the run succeeds."""

from pathlib import Path

from tests.dagster_cli import DagsterCli
from tests.pipeline import Pipeline
from tests.rasters import raster_bytes, write_raster

# Read by every Python process of the run: real faults in the process that reads, where GDAL would have them.
SITECUSTOMIZE = """
import ctypes, os, sys, time

def install():
    import geo_assets.raster.header as raster
    real = raster.open_in_environment

    def hostile(path, **options):
        file = options["opener"](path)
        content = file.read()
        if content.endswith(b"CRASH"):
            ctypes.string_at(0)
        if content.endswith(b"HANG"):
            time.sleep(1000)
        if content.endswith(b"BOMB"):
            bytearray(8 * 1024**3)
        return real(path, **options)

    raster.open_in_environment = hostile

if "forkserver" in " ".join(sys.orig_argv):
    install()
"""


def test_three_hostile_files_among_two_hundred_cost_themselves_only(pipeline: Pipeline, tmp_path: Path) -> None:
    folder = tmp_path / "container"
    for number in range(200):
        write_raster(folder / f"scene_{number:03d}.tif", value=number)
    for name, ending in {"m_crash": b"CRASH", "m_hang": b"HANG", "m_bomb": b"BOMB"}.items():
        # A tag of its own: a header of the same kind as the others' would never reach GDAL.
        (folder / f"{name}.tif").write_bytes(raster_bytes(tags={"hostile": name}) + ending)
    pipeline.declare(folder.as_uri())
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITECUSTOMIZE)
    variables = {
        "PYTHONPATH": str(tmp_path / "site"),
        "GEO_ASSETS_WORKER_SECONDS": "3",
        "GEO_ASSETS_WORKER_MEMORY_MB": "1024",
    }
    cli = DagsterCli(tmp_path / "home", pipeline.database_url, pipeline.sources_path, variables)
    status, output = cli.run_job("ingest_rasters")
    assert status == 0, output
    assert {name: failure.code for name, failure in pipeline.failures().items()} == {
        "m_crash.tif": "reader_crashed",
        "m_hang.tif": "reader_timeout",
        "m_bomb.tif": "too_large",
    }
    assert len(pipeline.items()) == 200
    pipeline.check_promise()
