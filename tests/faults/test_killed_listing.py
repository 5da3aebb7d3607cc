"""A listing killed in the middle: the next run goes on, counts each blob once and deletes only what is gone."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dagster_cli import DagsterCli
from tests.peers.virtual_container import CONTAINER, VirtualContainer, blob_name
from tests.pipeline import Pipeline
from tests.waiting import wait_until

BLOBS, PAGE = 20_000, 5_000


@pytest.fixture
def container() -> Iterator[VirtualContainer]:
    with VirtualContainer(BLOBS) as opened:
        yield opened


@pytest.fixture
def cli(pipeline: Pipeline, container: VirtualContainer, tmp_path: Path) -> DagsterCli:
    pipeline.declare(f"az://{CONTAINER}")
    variables = {"AZURE_STORAGE_CONNECTION_STRING": container.connection_string}
    return DagsterCli(tmp_path / "home", pipeline.database_url, pipeline.sources_path, variables)


def list_to_the_end(cli: DagsterCli) -> None:
    status, output = cli.run_job("list_container")
    assert status == 0, output


@pytest.mark.soak
def test_a_listing_killed_with_9_goes_on_and_ends_as_if_nothing_had_happened(
    pipeline: Pipeline, cli: DagsterCli, container: VirtualContainer
) -> None:
    list_to_the_end(cli)
    container.gone |= {3, 12_000}
    container.rewritten |= {4, 13_000}
    container.blobs += 100
    container.delay_seconds = 0.7
    worker = cli.start_job("list_container")
    wait_until(lambda: pipeline.query("SELECT id FROM ledger.listing WHERE id = 2 AND pages >= 2") != [], "two pages")
    os.killpg(worker.pid, signal.SIGKILL)
    worker.communicate()
    ((pages, listed),) = pipeline.query("SELECT pages, new + changed + unchanged FROM ledger.listing WHERE id = 2")
    assert listed == pages * PAGE - 1 - (pages > 2)
    container.delay_seconds = 0
    container.served.clear()
    list_to_the_end(cli)
    assert container.served[0] == pages * PAGE
    counts = "SELECT complete, new, changed, deleted, unchanged FROM ledger.listing ORDER BY id"
    assert pipeline.query(counts) == [(True, BLOBS, 0, 0, 0), (True, 100, 2, 2, BLOBS - 4)]
    gone = {name for (name,) in pipeline.query("SELECT name FROM ledger.blob WHERE deleted_at IS NOT NULL")}
    assert gone == {blob_name(3), blob_name(12_000)}
    assert pipeline.query("SELECT count(*) FROM ledger.listing_page") == [(0,)]
