"""What is wrong with one event, one name, one store or one source of a batch costs itself only."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from geo_assets.storage import container_look
from tests.arrivals import Arrivals, assert_is_what_the_container_holds, list_into, source_in
from tests.peers.http_proxy import FailingNames
from tests.services import Azurite
from tests.unit.core.formats.zarr_files import write_cube

SOON = timedelta(seconds=5)


def as_array(*bodies: bytes) -> bytes:
    return json.dumps([json.loads(body) for body in bodies]).encode()


def set_aside(arrivals: Arrivals) -> list[dict[str, object]]:
    with arrivals.database.connections.connect() as connection:
        return connection.execute("SELECT * FROM ledger.message ORDER BY id").fetchall()


@pytest.fixture
def proxied(queue_service: Azurite, monkeypatch: pytest.MonkeyPatch) -> Iterator[FailingNames]:
    """A proxy before the blobs of Azurite, which `through` puts in their place."""
    with FailingNames(queue_service.port) as proxy:
        yield proxy


def through(port: int, queue_service: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the blobs, not the queues, asked for by this port."""
    own = queue_service.connection_string.replace(f":{queue_service.port}/", f":{port}/")
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", own)


def test_a_bad_entry_of_an_array_costs_itself_only(arrivals: Arrivals) -> None:
    ghosts = [arrivals.event("Created", f"ghost{number}.tif") for number in range(98)]
    bad = json.loads(arrivals.event("Created", "bad.tif"))
    del bad["eventTime"]
    taken = arrivals.take(as_array(*ghosts, json.dumps(bad).encode(), arrivals.put("a.tif")))
    assert (taken.messages, taken.new, taken.unchanged, taken.poisoned, taken.abandoned) == (1, 1, 98, 1, 0)
    assert [row["name"] for row in arrivals.rows()] == ["a.tif"]
    (record,) = set_aside(arrivals)
    assert (record["error_code"], record["state"]) == ("malformed_message", "dead_letter")
    assert "these cannot be read: 98. The others were taken. [98].eventTime is missing." in str(record["error_message"])
    assert_is_what_the_container_holds(arrivals)


@pytest.mark.parametrize(("names", "failing"), [(2, 2), (20, 6)])
def test_names_that_the_store_fails_on_cost_their_own_messages_only(
    arrivals: Arrivals,
    proxied: FailingNames,
    queue_service: Azurite,
    monkeypatch: pytest.MonkeyPatch,
    names: int,
    failing: int,
) -> None:
    good = [arrivals.put(f"good{number}.tif") for number in range(names)]
    bad = [arrivals.put(f"faulty{number}.tif") for number in range(failing)]
    messages = arrivals.messages(*good, *bad)
    with monkeypatch.context() as as_proxied:
        through(proxied.port, queue_service, as_proxied)
        proxied.names = ("faulty",)  # no hexadecimal, as containers are named
        taken = arrivals.observer.take(messages)
    assert (taken.new, taken.abandoned, taken.poisoned) == (names, failing, 0)
    again = arrivals.queue.receive(10, wait=SOON)
    assert sorted(message.body for message in again) == sorted(bad)
    assert arrivals.observer.take(again).new == failing
    assert_is_what_the_container_holds(arrivals)


def test_a_message_whose_last_delivery_never_ended_is_given_up_before_it_is_looked_at(
    arrivals: Arrivals,
) -> None:
    body = arrivals.put("a.tif")
    (message,) = arrivals.messages(body)
    for _ in range(arrivals.rule.max_attempts):  # what becomes of it when whoever received it dies
        arrivals.queue.abandon(message)
        (message,) = arrivals.queue.receive(1, wait=SOON)
    taken = arrivals.observer.take([message])
    assert (taken.new, taken.poisoned, taken.abandoned) == (0, 1, 0)
    assert arrivals.rows() == []
    (record,) = set_aside(arrivals)
    assert (record["error_code"], record["delivery_count"], record["state"]) == (
        "deliveries_never_ended",
        3,
        "dead_letter",
    )
    assert "never ended" in str(record["error_message"])
    (dead,) = arrivals.queue.dead_letters(10)
    assert dead.message.body == body


def test_a_store_too_large_for_a_look_is_left_to_a_listing(
    arrivals: Arrivals,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(container_look, "MOST_PAGES", 2)
    source = source_in(str(arrivals.container.container_name), include=["**/*.zarr", "**/*.tif"])
    arrivals.sources = {source.name: source}
    store = write_cube(tmp_path / "cube.zarr", zarr_format=3)
    names = {str(path.relative_to(tmp_path)): path for path in sorted(store.rglob("*")) if path.is_file()}
    events = {name: arrivals.put(name, path.read_bytes()) for name, path in names.items()}
    monkeypatch.setattr("geo_assets.storage.azure_blob_store.PAGE_SIZE", 2)
    assert arrivals.database.listings.listing_asked_at(source) is None
    taken = arrivals.take(events["cube.zarr/zarr.json"], arrivals.put("a.tif"), arrivals.put("b.tif"))
    assert (taken.new, taken.dropped, taken.abandoned) == (2, {"left_to_listing": 1}, 0)
    assert taken.sources == {source.name}
    assert arrivals.queue.receive(10, wait=timedelta(0)) == []
    asked = arrivals.database.listings.listing_asked_at(source)
    assert asked is not None
    diff = list_into(arrivals.database, source)
    assert (diff.new, diff.complete) == (1, True)
    assert arrivals.database.listings.listing_asked_at(source) is None
    arrivals.take(events["cube.zarr/zarr.json"])
    later = arrivals.database.listings.listing_asked_at(source)
    assert later is not None
    assert later > asked
