"""Listings and comparisons on a real ledger: what they change, and what they must not."""

import threading
from datetime import UTC, datetime

import pytest

from geo_assets.ledger.blobs import Ledger
from geo_assets.ledger.listings import ListingDiff
from geo_assets.models import BlobPage, BlobRef
from tests.ledgers import SOURCE, blob, counts, describe, everything, listed


def test_a_listing_tells_new_changed_unchanged_and_deleted_apart(ledger: Ledger) -> None:
    assert listed(ledger, [blob("a"), blob("b")], [blob("c"), blob("d")]) == (4, 0, 0, 0)
    assert listed(ledger, [blob("a"), blob("b", "2")], [], [blob("e")]) == (1, 1, 2, 1)
    assert listed(ledger, [blob("a"), blob("b", "2"), blob("e")]) == (0, 0, 0, 3)
    assert counts(ledger) == {"blobs": 3, "pending": 3, "deleted": 2}


def test_an_empty_listing_that_is_complete_deletes_all(ledger: Ledger) -> None:
    listed(ledger, [blob("a"), blob("b")])
    assert listed(ledger) == (0, 0, 2, 0)
    assert counts(ledger) == {"deleted": 2}


def test_an_incomplete_listing_deletes_nothing(ledger: Ledger) -> None:
    listed(ledger, [blob("a"), blob("b"), blob("c")])
    assert listed(ledger, [blob("a", "2")], complete=False) == (0, 1, 0, 0)
    assert counts(ledger) == {"blobs": 3, "pending": 3}


def test_a_listing_that_breaks_off_keeps_its_pages_and_deletes_nothing(ledger: Ledger) -> None:
    listed(ledger, [blob("a"), blob("b")])

    def break_off() -> None:
        with ledger.open_listing(SOURCE, run_id=None) as writer:
            writer.add_page(BlobPage([blob("c")]))
            raise ConnectionError

    with pytest.raises(ConnectionError):
        break_off()
    assert counts(ledger) == {"blobs": 3, "pending": 3}


def test_a_blob_that_comes_back_counts_as_new_and_awaits_its_turn(ledger: Ledger) -> None:
    listed(ledger, [blob("a")])
    describe(ledger, blob("a"))
    listed(ledger)
    assert listed(ledger, [blob("a")]) == (1, 0, 0, 0)
    assert counts(ledger) == {"blobs": 1, "pending": 1}
    assert ledger.blobs_to_describe(everything(ledger)) == [blob("a")]


def test_a_blob_seen_twice_in_one_page_counts_once_with_its_newest_version(ledger: Ledger) -> None:
    newer = BlobRef("a", "2", 5, datetime(2024, 6, 1, tzinfo=UTC))
    assert listed(ledger, [blob("a"), newer, blob("b")]) == (2, 0, 0, 0)
    assert ledger.blobs_to_describe(everything(ledger)) == [newer, blob("b")]


def test_a_blob_first_seen_after_the_listing_began_is_not_taken_for_deleted(ledger: Ledger, catalogue: str) -> None:
    with ledger.open_listing(SOURCE, run_id=None) as writer:
        writer.add_page(BlobPage([blob("a")]))
        # Another writer (an event, say) records a blob where this listing has passed already.
        with ledger.connect() as connection:
            connection.execute(
                "INSERT INTO ledger.blob (source, name, etag, size_bytes, last_modified) "
                "VALUES ('landsat', 'A early name', '1', 1, now())"
            )
        assert writer.finish(complete=True).deleted == 0
    assert counts(ledger) == {"blobs": 2, "pending": 2}


def test_the_deletion_of_one_source_touches_no_other(ledger: Ledger) -> None:
    other = SOURCE.model_copy(update={"name": "other"})
    listed(ledger, [blob("a")])
    listed(ledger, [blob("a"), blob("b")], source=other)
    assert listed(ledger, source=other) == (0, 0, 2, 0)
    assert counts(ledger) == {"blobs": 1, "pending": 1}


def test_two_listings_of_one_source_take_turns(ledger: Ledger) -> None:
    finished: list[ListingDiff] = []

    def second() -> None:
        with ledger.open_listing(SOURCE, run_id="second") as writer:
            writer.add_page(BlobPage([blob("a"), blob("b")]))
            finished.append(writer.finish(complete=True))

    with ledger.open_listing(SOURCE, run_id="first") as writer:
        writer.add_page(BlobPage([blob("a")]))
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
        assert finished == []
        writer.finish(complete=True)
    thread.join(20)
    assert finished == [ListingDiff(new=1, unchanged=1, complete=True)]


def test_listings_of_two_sources_do_not_wait_for_each_other(ledger: Ledger) -> None:
    with ledger.open_listing(SOURCE, run_id=None) as one:
        assert listed(ledger, [blob("a")], source=SOURCE.model_copy(update={"name": "other"})) == (1, 0, 0, 0)
        assert one.finish(complete=True).blobs == 0


def test_a_comparison_shows_what_a_listing_would_change_and_changes_nothing(ledger: Ledger, catalogue: str) -> None:
    listed(ledger, [blob("a"), blob("b"), blob("c")])
    listed(ledger, [blob("a"), blob("b")])
    with ledger.connect() as connection:
        before = connection.execute("SELECT xmin, b.* FROM ledger.blob AS b ORDER BY name").fetchall()
    with ledger.open_comparison(SOURCE.name) as compare:
        found = compare([blob("a"), blob("b", "2"), blob("c"), blob("d")])
        assert (found.new, found.changed, found.unchanged) == (2, 1, 1)
        assert found.digest != 0
        assert compare([blob("a"), blob("b")]).digest == 0
        assert compare([blob("b", "3")]).digest != compare([blob("b", "2")]).digest
        assert compare([]).digest == 0
    with ledger.connect() as connection:
        assert connection.execute("SELECT xmin, b.* FROM ledger.blob AS b ORDER BY name").fetchall() == before


def test_the_digest_of_a_comparison_does_not_depend_on_pages(ledger: Ledger) -> None:
    ledger.register_source(SOURCE)
    one, two, three = blob("a"), blob("b"), blob("c")
    with ledger.open_comparison(SOURCE.name) as compare:
        assert compare([one, two, three]).digest == compare([three]).digest + compare([two, one]).digest
