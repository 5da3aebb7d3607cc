"""kill -9 amid a run: while it lists, reads, makes items, loads them and marks their blobs."""

import pytest

from tests.faults.conftest import OpenWorld
from tests.faults.fault_record import fault
from tests.faults.killing import Moment

pytestmark = pytest.mark.soak  # of killed runs, `make test` has that of `test_killed_worker`

GROUP = "kill -9 during a run"
LISTING = "geo_assets.ledger.listings"
PGSTAC = "geo_assets.catalogue.pgstac:PgStac"
LEDGER = "geo_assets.ledger.blobs:BlobLedger"
LISTED = {
    "during a page of a listing": Moment("after", "psycopg:Copy.write_row", 30),
    "after a page of a listing is committed": Moment("after", f"{LISTING}:ListingWriter.add_page", 1),
    "after a listing, before what is gone is marked": Moment("before", f"{LISTING}:ListingWriter.finish", 1),
    "after a listing": Moment("after", f"{LISTING}:ListingWriter.finish", 1),
}
TOLD = {
    "mid-read": Moment("after", "geo_assets.assets.raster_metadata:Outcome", 20),
    "after reading, before that is recorded": Moment("before", f"{LEDGER}.record_described", 1),
    "after the reading is recorded": Moment("after", f"{LEDGER}.record_described", 1),
    "after items are removed": Moment("after", f"{PGSTAC}.withdraw_dead", 1),
    "mid-item": Moment("after", "geo_assets.catalogue.items:build_item", 20),
    "after item ids are claimed": Moment("after", "geo_assets.catalogue.items:claim_ids", 1),
    "between PgSTAC partitions": Moment("after", "pypgstac.load:Loader.load_partition", 1),
    "after load, before marking": Moment("after", f"{PGSTAC}.load", 1),
    "after marking": Moment("after", "geo_assets.catalogue.items:mark_catalogued", 1),
}


def parameters(moments: dict[str, Moment]) -> list[object]:
    return [pytest.param(name, moment, id=name) for name, moment in moments.items()]


@pytest.mark.parametrize(("name", "moment"), parameters(TOLD))
def test_a_run_of_what_events_told_that_is_killed_is_finished_by_the_next(
    open_world: OpenWorld, name: str, moment: Moment
) -> None:
    world = open_world(["storage_queue"])
    world.happen()
    world.pipeline.execute("UPDATE pgstac.collections SET partition_trunc = 'month'")
    with fault(GROUP, name) as run:
        world.kill_at(moment)
        run.over()
        world.converge()
        run.judged(world.judge(), blobs=len(world.blobs))


@pytest.mark.parametrize(("name", "moment"), parameters(LISTED))
def test_a_run_that_is_killed_while_it_lists_is_finished_by_the_next(
    open_world: OpenWorld, name: str, moment: Moment
) -> None:
    world = open_world([])
    world.happen()
    with fault(GROUP, name) as run:
        world.kill_at(moment)
        run.over()
        world.converge()
        run.judged(world.judge(), blobs=len(world.blobs))
