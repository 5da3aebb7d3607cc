"""What /metrics says of a real catalogue, and that rules and docs name nothing else."""

import math
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.api_server import served, settings_of
from tests.pipeline import SOURCE, Pipeline
from tests.rasters import write_raster
from tests.services import PROJECT

RULES = PROJECT / "deploy" / "prometheus" / "rules.yaml"
NAME = re.compile(r"(?<![:\w])geo_assets_[a-z_]+")
# What Prometheus' format adds to the name of a counter or a histogram.
SUFFIXES = re.compile(r"_(bucket|sum|count|total)$")


@pytest.fixture
def metrics(pipeline: Pipeline, tmp_path: Path) -> dict[str, dict[tuple[str, ...], float]]:
    """The samples of a source that was listed, of one that never was, and of a queue with a message given up."""
    write_raster(tmp_path / "container" / "a.tif")
    (tmp_path / "container" / "bad.tif").write_text("no raster")
    pipeline.declare((tmp_path / "container").as_uri())
    assert pipeline.run().success
    write_raster(tmp_path / "container" / "b.tif", value=2)
    assert pipeline.run("list_container").success
    pipeline.execute("UPDATE ledger.blob SET etag_seen_at = etag_seen_at - interval '2 hours'")
    pipeline.execute("UPDATE ledger.source SET updated_at = updated_at - interval '2 hours'")
    pipeline.execute("UPDATE ledger.listing SET finished_at = finished_at - interval '3 hours'")
    pipeline.execute(
        "INSERT INTO ledger.message (path, queue, message_id, delivery_count, error_code, error_message, body_start) "
        "VALUES ('storage_queue', 'arrivals', 'one', 5, 'malformed_message', 'says nothing', '?')"
    )
    pipeline.declare(tmp_path.as_uri(), name="never")
    with served(settings_of(pipeline.database_url, pipeline.sources_path)) as client:
        client.get("/stac/collections")
        text = client.get("/metrics").text
    samples: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return samples


def test_the_ledgers_counts_and_ages_are_told(metrics: dict[str, dict[tuple[str, ...], float]]) -> None:
    assert metrics["geo_assets_ledger_up"] == {(): 1}
    assert metrics["geo_assets_blobs"][SOURCE, "catalogued"] == 1
    assert metrics["geo_assets_blobs"][SOURCE, "pending"] == 1
    assert metrics["geo_assets_blobs"][SOURCE, "quarantined"] == 1
    assert 7200 <= metrics["geo_assets_backlog_seconds"][(SOURCE,)] < 7500
    assert 10_800 <= metrics["geo_assets_listed_seconds"][(SOURCE,)] < 11_100
    assert metrics["geo_assets_listed_seconds"][("never",)] == math.inf
    assert metrics["geo_assets_dead_letters"] == {("storage_queue", "arrivals"): 1}
    assert metrics["geo_assets_requests_total"]["stac", "GET", "200"] == 1


def test_rules_and_docs_name_only_what_is_exposed(metrics: dict[str, dict[tuple[str, ...], float]]) -> None:
    known = set(metrics) | {SUFFIXES.sub("", name) for name in metrics}
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    asked = {name for rule in rules for name in NAME.findall(rule["expr"])}
    page = (PROJECT / "docs" / "operate" / "slo.md").read_text()
    told = set(re.findall(r"`(geo_assets_[a-z_]+)`", page))
    assert len(asked) >= 7
    assert asked <= known
    assert told <= known
    exposed = {SUFFIXES.sub("", name) for name in metrics if not name.endswith("_created")}
    assert exposed == {SUFFIXES.sub("", name) for name in told}
    alerts = {rule["alert"] for rule in rules if "alert" in rule}
    assert alerts == set(re.findall(r"^\| `(GeoAssets\w+)`", page, re.MULTILINE))


@pytest.mark.parametrize(
    "command", [("check", "rules", "rules.yaml"), ("test", "rules", "rules_test.yaml")], ids=" ".join
)
def test_prometheus_itself_takes_the_rules_and_alerts_when_it_is_to(command: tuple[str, ...]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed here (Debian: apt-get install prometheus)")
    done = subprocess.run([promtool, *command], cwd=RULES.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
