"""Events of a real container through a real queue into the ledger: the end is what the container holds."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from geo_assets.errors import DatabaseUnavailable
from geo_assets.ledger.events import EventLedger
from geo_assets.models import BlobRef
from geo_assets.resources.database import Database
from geo_assets.resources.stores import BlobStores
from geo_assets.sources.source import Source
from geo_assets.storage.listing import timed_pages
from tests.arrivals import Arrivals, assert_is_what_the_container_holds, source_in
from tests.event_messages import blob_event
from tests.ledgers import METADATA, everything, mark
from tests.services import free_port
from tests.unit.core.formats.zarr_files import write_cube


def test_a_blob_that_comes_changes_goes_and_comes_back(arrivals: Arrivals) -> None:
    created = arrivals.take(arrivals.put("a.tif"))
    assert (created.messages, created.events, created.new) == (1, 1, 1)
    assert created.sources == {"rasters"}
    assert created.correlation_ids == {"rasters": ("upload of a.tif",)}
    assert arrivals.take(arrivals.put("a.tif", b"other")).changed == 1
    assert arrivals.take(arrivals.delete("a.tif")).deleted == 1
    assert arrivals.rows() == [{"name": "a.tif", "gone": True}]
    assert arrivals.take(arrivals.put("a.tif")).new == 1
    assert arrivals.rows() == [{"name": "a.tif", "gone": False}]
    assert_is_what_the_container_holds(arrivals)


def test_the_row_says_who_saw_the_version_and_when_it_came_to_be(arrivals: Arrivals) -> None:
    body = arrivals.put("a.tif")
    arrivals.take(body)
    told = json.loads(body)
    (row,) = arrivals.rows("observed_by, event_time, correlation_id, sequencer, searchable_at")
    assert (row["observed_by"], row["correlation_id"]) == ("storage_queue", "upload of a.tif")
    assert str(row["event_time"])[:22] == str(told["eventTime"]).replace("T", " ")[:22]
    assert str(row["sequencer"]).endswith(told["data"]["sequencer"])
    assert row["searchable_at"] is None
    arrivals.container.upload_blob("a.tif", b"unannounced", overwrite=True)
    assert arrivals.listed()[0].changed == 1
    (row,) = arrivals.rows(
        "observed_by, event_time = last_modified AS as_stored, correlation_id, sequencer IS NULL AS new"
    )
    assert row == {"observed_by": "listing", "as_stored": True, "correlation_id": None, "new": False}


@pytest.mark.parametrize("order", ["as sent", "reversed"])
def test_any_order_and_every_event_three_times(arrivals: Arrivals, order: str) -> None:
    bodies = [arrivals.put("a.tif"), arrivals.put("b.tif"), arrivals.put("a.tif", b"2"), arrivals.delete("b.tif")]
    bodies += [arrivals.put("c.tif"), arrivals.delete("c.tif"), arrivals.put("c.tif", b"3")]
    for body in bodies if order == "as sent" else reversed(bodies):
        arrivals.take(body, body, body)
    assert arrivals.rows() == [{"name": "a.tif", "gone": False}, {"name": "c.tif", "gone": False}]
    assert_is_what_the_container_holds(arrivals)


def test_a_deletion_is_told_before_the_creation(arrivals: Arrivals) -> None:
    created = arrivals.put("a.tif")
    deleted = arrivals.delete("a.tif")
    assert arrivals.take(deleted).unchanged == 1
    assert arrivals.take(created).unchanged == 1
    assert arrivals.rows() == []
    assert_is_what_the_container_holds(arrivals)


def test_what_concerns_no_source_is_counted_by_its_reason(arrivals: Arrivals) -> None:
    other = str(arrivals.container.url)
    source = source_in(str(arrivals.container.container_name)).model_copy(
        update={"url": f"az://{arrivals.container.container_name}/landsat"}
    )
    arrivals.sources = {source.name: source}
    taken = arrivals.take(
        blob_event("Created", "https://others.blob.core.windows.net/bronze", "a.tif"),
        blob_event("Created", f"{other}x", "landsat/a.tif"),
        arrivals.event("Created", "a.tif"),
        arrivals.event("Created", "landsat/a.txt"),
        arrivals.event("TierChanged", "landsat/a.tif"),
        arrivals.put("landsat/a.tif"),
    )
    reasons = ("wrong_account", "wrong_container", "wrong_prefix", "not_included", "unknown_event_type")
    assert taken.dropped == dict.fromkeys(reasons, 1)
    assert (taken.messages, taken.events, taken.new) == (6, 6, 1)
    (batch,) = arrivals.batches()
    assert batch["dropped"] == taken.dropped
    assert_is_what_the_container_holds(arrivals)


def test_one_bad_message_among_a_hundred_leaves_ninety_nine_done(arrivals: Arrivals) -> None:
    bodies = [arrivals.put(f"x/{number:03}.tif") for number in range(99)]
    bodies.insert(50, b'{"eventType": "Microsoft.Storage.BlobCreated", "id": "bad", "data": {"url": 1}}')
    taken = arrivals.take(*bodies)
    assert (taken.messages, taken.new, taken.poisoned, taken.abandoned) == (100, 99, 1, 0)
    assert_is_what_the_container_holds(arrivals)
    (dead,) = arrivals.queue.dead_letters(10)
    assert dead.message.body == bodies[50]
    with arrivals.database.connections.connect() as connection:
        (row,) = connection.execute("SELECT * FROM ledger.message").fetchall()
    assert (row["state"], row["error_code"], row["dead_letter_id"]) == (
        "dead_letter",
        "malformed_message",
        dead.message.message_id,
    )
    assert "eventTime is missing" in row["error_message"]
    assert row["body_start"].encode() == bodies[50]


def test_a_container_that_is_away_costs_its_own_messages_only(arrivals: Arrivals) -> None:
    gone = source_in("never-made", "gone")
    arrivals.sources |= {"gone": gone}
    there = arrivals.put("a.tif")
    away = there.replace(str(arrivals.container.container_name).encode(), b"never-made").replace(b"event-", b"other-")
    taken = arrivals.take(there, away)
    assert (taken.new, taken.abandoned, taken.poisoned) == (1, 1, 0)
    (again,) = arrivals.queue.receive(10, wait=timedelta(seconds=5))
    assert again.delivery_count == 2
    last = arrivals.observer.take([again])
    assert (last.redelivered, last.abandoned, last.poisoned) == (1, 0, 1)
    (dead,) = arrivals.queue.dead_letters(10)
    assert dead.message.body == away
    del arrivals.sources["gone"]
    assert_is_what_the_container_holds(arrivals)


def test_a_store_that_is_down_gives_the_messages_back(arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch) -> None:
    messages = arrivals.messages(*[arrivals.put(f"{number}.tif") for number in range(3)])
    with monkeypatch.context() as down:
        down.setenv("AZURE_STORAGE_ACCOUNT_URL", f"http://127.0.0.1:{free_port()}/devstoreaccount1")
        down.setenv("AZURE_STORAGE_ANONYMOUS", "true")
        down.delenv("AZURE_STORAGE_CONNECTION_STRING")
        assert arrivals.observer.take(messages).abandoned == 3
    assert arrivals.rows() == []
    again = arrivals.observer.take(arrivals.queue.receive(3, wait=timedelta(seconds=5)))
    assert (again.new, again.redelivered) == (3, 3)
    assert_is_what_the_container_holds(arrivals)


def test_nothing_is_settled_while_the_database_is_down(arrivals: Arrivals) -> None:
    messages = arrivals.messages(arrivals.put("a.tif"), b"no event")
    arrivals.database, database = (
        Database(database_url=f"postgresql://nobody@127.0.0.1:{free_port()}/none"),
        arrivals.database,
    )
    with pytest.raises(DatabaseUnavailable):
        arrivals.observer.take(messages)
    arrivals.database = database
    for message in messages:  # as their locks would run out
        arrivals.queue.abandon(message)
    taken = arrivals.observer.take(arrivals.queue.receive(2, wait=timedelta(seconds=5)))
    assert (taken.new, taken.poisoned) == (1, 1)
    assert_is_what_the_container_holds(arrivals)


def test_a_page_that_was_asked_for_earlier_does_not_undo_an_event(arrivals: Arrivals) -> None:
    source = arrivals.sources["rasters"]
    arrivals.take(arrivals.put("a.tif"), arrivals.put("b.tif"))
    with BlobStores().open(source) as store, arrivals.database.listings.open_listing(source, run_id=None) as writer:
        (page,) = timed_pages(store.list_pages(""), arrivals.database.now)
        events = [arrivals.put("a.tif", b"newer"), arrivals.delete("b.tif"), arrivals.put("c.tif")]
        assert arrivals.take(*events).sources == {"rasters"}
        writer.add_page(page)
        diff = writer.finish(complete=True)
    assert (diff.new, diff.changed, diff.deleted) == (0, 0, 0)
    assert arrivals.rows() == [
        {"name": "a.tif", "gone": False},
        {"name": "b.tif", "gone": True},
        {"name": "c.tif", "gone": False},
    ]
    assert_is_what_the_container_holds(arrivals)


def test_a_look_that_began_earlier_does_not_undo_a_listing(arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch) -> None:
    """The events are looked at, then a listing comes in between before they are committed."""
    arrivals.take(arrivals.put("a.tif"), arrivals.put("b.tif"))
    bodies = [arrivals.put("a.tif", b"2"), arrivals.put("b.tif", b"2"), arrivals.put("c.tif")]
    observer, record = arrivals.observer, EventLedger.record_events

    def late(self: EventLedger, *args: object) -> object:
        arrivals.container.upload_blob("a.tif", b"3", overwrite=True)
        arrivals.container.delete_blob("b.tif")
        arrivals.container.delete_blob("c.tif")
        (diff,) = arrivals.listed()
        assert (diff.new, diff.changed, diff.deleted) == (0, 1, 1)
        return record(self, *args)  # type: ignore[arg-type]

    messages = arrivals.messages(*bodies)
    with monkeypatch.context() as patched:
        patched.setattr(EventLedger, "record_events", late)
        observer.take(messages)
    assert arrivals.rows()[:2] == [{"name": "a.tif", "gone": False}, {"name": "b.tif", "gone": True}]
    arrivals.take(arrivals.event("Deleted", "c.tif"))
    assert_is_what_the_container_holds(arrivals)


def test_a_world_file_changes_the_version_of_its_picture(arrivals: Arrivals) -> None:
    arrivals.take(arrivals.put("a.png"), arrivals.put("a.tif"), arrivals.put("b.png"))
    taken = arrivals.take(arrivals.put("a.pgw"))
    assert (taken.events, taken.changed, taken.new) == (1, 1, 0)
    assert arrivals.take(arrivals.put("a.pgw", b"other")).changed == 1
    taken = arrivals.take(arrivals.put("a.prj"))
    assert (taken.changed, taken.unchanged) == (2, 0)
    assert arrivals.take(arrivals.delete("a.pgw")).changed == 1
    assert arrivals.take(arrivals.put("nobodys.pgw")).unchanged == 0
    assert arrivals.take(arrivals.put("a.png.ovr")).dropped == {"sidecar": 1}
    assert_is_what_the_container_holds(arrivals)


def test_a_moved_blob_is_taken_for_a_rename(arrivals: Arrivals) -> None:
    arrivals.take(arrivals.put("old.tif", b"content"))
    (row,) = arrivals.rows("name, etag, size_bytes, last_modified")
    arrivals.database.blobs.record_described("rasters", [(BlobRef(**row), METADATA)], run_id=None)  # type: ignore[arg-type]
    taken = arrivals.take(arrivals.put("new.tif", b"content"), arrivals.delete("old.tif"))
    assert (taken.new, taken.deleted) == (1, 1)
    assert arrivals.database.scenes.remarks("rasters", ["new.tif"])["new.tif"].former_name == "old.tif"


def test_an_item_says_which_event_brought_its_blob_and_when_it_was_first_found(arrivals: Arrivals) -> None:
    source, database = arrivals.sources["rasters"], arrivals.database
    arrivals.take(arrivals.put("a.tif"))

    def catalogue_again() -> BlobRef:
        database.blobs.record_described(
            source.name,
            [(database.blobs.to_describe(everything(database, source=source.name))[0], METADATA)],
            run_id=None,
        )
        ((blob, metadata),) = database.blobs.to_catalogue(everything(database, "catalogue", source=source.name))
        assert metadata == METADATA
        mark(database, source, [blob], run_id=None)
        return blob

    blob = catalogue_again()
    assert blob.correlation_id == "upload of a.tif"
    (first,) = arrivals.rows("searchable_at")
    assert first["searchable_at"] is not None
    mark(database, source, [blob], run_id=None)
    assert arrivals.rows("searchable_at") == [first]
    arrivals.container.upload_blob("a.tif", b"unannounced", overwrite=True)
    assert arrivals.listed()[0].changed == 1
    assert arrivals.rows("searchable_at") == [{"searchable_at": None}]
    assert catalogue_again().correlation_id is None


def test_a_batch_gives_way_to_whoever_holds_a_row_and_comes_again(arrivals: Arrivals) -> None:
    """And so is never the reason why PostgreSQL stops a run to end a deadlock."""
    arrivals.take(arrivals.put("a.tif"))
    messages = arrivals.messages(arrivals.put("a.tif", b"2"))
    database = arrivals.database
    with (
        database.connections.connect() as run,
        database.connections.connect() as onlooker,
        ThreadPoolExecutor(1) as thread,
    ):
        with run.transaction():
            run.execute("SELECT FROM ledger.blob FOR UPDATE")
            taken = thread.submit(arrivals.observer.take, messages)
            waited = (
                "SELECT state FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            while onlooker.execute(waited).fetchone() is None:
                assert not taken.done()
            while onlooker.execute(waited).fetchone() is not None:
                assert not taken.done()
        assert taken.result().changed == 1
    assert_is_what_the_container_holds(arrivals)


def test_blobs_of_scenes_are_grouped_with_the_event(arrivals: Arrivals) -> None:
    group = {"name": r"(?P<item>[^/]+)/(?P<asset>\w+)\.tif$", "required": ["red"]}
    source = arrivals.sources["rasters"].model_dump(exclude={"item_id", "group"}) | {"group": group}
    arrivals.sources = {"rasters": Source.model_validate(source)}
    arrivals.take(arrivals.put("s1/red.tif"), arrivals.put("s1/green.tif"), arrivals.put("stray.tif"))
    rows = arrivals.rows("name, scene_id, asset_key, error_code")
    assert [tuple(row.values()) for row in rows] == [
        ("s1/green.tif", "s1", "green", None),
        ("s1/red.tif", "s1", "red", None),
        ("stray.tif", None, None, "not_in_group"),
    ]
    assert_is_what_the_container_holds(arrivals)


def test_a_message_about_a_blob_that_never_was_leaves_the_ledger_empty(arrivals: Arrivals) -> None:
    taken = arrivals.take(arrivals.event("Created", "a.tif", eTag="0x1"))
    assert (taken.new, taken.unchanged, taken.sources) == (0, 1, frozenset())
    assert arrivals.rows() == []


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_an_event_of_any_part_that_tells_a_zarr_stores_version_gives_the_version_of_a_listing(
    arrivals: Arrivals, tmp_path: Path, zarr_format: int
) -> None:
    """Its root, and a chunk of a coordinate; a chunk of data is in the store and tells nothing."""
    source = source_in(str(arrivals.container.container_name), include=["**/*.zarr"])
    arrivals.sources = {source.name: source}
    store = write_cube(tmp_path / "cube.zarr", zarr_format=zarr_format)
    written = {
        f"in/{path.relative_to(tmp_path)}": arrivals.put(f"in/{path.relative_to(tmp_path)}", path.read_bytes())
        for path in sorted(store.rglob("*"))
        if path.is_file()
    }
    root = next(name for name in written if name.endswith(("cube.zarr/zarr.json", "cube.zarr/.zgroup")))
    assert arrivals.take(written[root]).new == 1
    ((row),) = arrivals.rows("name, etag")
    assert row["name"] == root
    assert_is_what_the_container_holds(arrivals)
    coordinate = next(name for name in written if "/time/" in name and name.rpartition("/")[2] in {"0", "c"})
    event = arrivals.put(coordinate, b"other times")
    assert arrivals.take(event).changed == 1
    assert arrivals.rows("etag") != [{"etag": row["etag"]}]
    assert_is_what_the_container_holds(arrivals)
    data = next(name for name in written if "/tas/" in name and name.rpartition("/")[2].startswith("0"))
    assert arrivals.take(written[data]).dropped == {"in_store": 1}


def test_an_event_of_a_file_in_the_folder_of_a_store_is_of_that_file(arrivals: Arrivals, tmp_path: Path) -> None:
    source = source_in(str(arrivals.container.container_name), include=["**/*.zarr", "**/*.tif"])
    arrivals.sources = {source.name: source}
    store = write_cube(tmp_path / "cube.zarr")
    for path in sorted(store.rglob("*")):
        if path.is_file():
            arrivals.put(f"in/{path.relative_to(tmp_path)}", path.read_bytes())
    assert arrivals.take(arrivals.put("in/cube.zarr/scene.tif", b"a raster")).new == 1
    assert arrivals.rows("name") == [{"name": "in/cube.zarr/scene.tif"}]
    assert arrivals.take(arrivals.put("in/cube.zarr/zarr.json", b"{}")).new == 1
    assert_is_what_the_container_holds(arrivals)
