"""Listings and comparisons on a real ledger: what they change, and what they must not."""

import threading
from datetime import UTC, datetime

import pytest

from geo_assets.ledger.listings import ListingDiff
from geo_assets.models import BlobPage, BlobRef
from geo_assets.resources.database import Database
from tests.ledgers import SOURCE, blob, counts, describe, everything, listed


def test_a_listing_tells_new_changed_unchanged_and_deleted_apart(database: Database) -> None:
    assert listed(database, [blob("a"), blob("b")], [blob("c"), blob("d")]) == (4, 0, 0, 0)
    assert listed(database, [blob("a"), blob("b", "2")], [], [blob("e")]) == (1, 1, 2, 1)
    assert listed(database, [blob("a"), blob("b", "2"), blob("e")]) == (0, 0, 0, 3)
    assert counts(database) == {"blobs": 3, "pending": 3, "deleted": 2}


def test_an_empty_listing_that_is_complete_deletes_all(database: Database) -> None:
    listed(database, [blob("a"), blob("b")])
    assert listed(database) == (0, 0, 2, 0)
    assert counts(database) == {"deleted": 2}


def test_an_incomplete_listing_deletes_nothing(database: Database) -> None:
    listed(database, [blob("a"), blob("b"), blob("c")])
    assert listed(database, [blob("a", "2")], complete=False) == (0, 1, 0, 0)
    assert counts(database) == {"blobs": 3, "pending": 3}


def test_a_listing_that_breaks_off_keeps_its_pages_and_deletes_nothing(database: Database) -> None:
    listed(database, [blob("a"), blob("b")])

    def break_off() -> None:
        with database.listings.open_listing(SOURCE, run_id=None) as writer:
            writer.add_page(BlobPage([blob("c")]))
            raise ConnectionError

    with pytest.raises(ConnectionError):
        break_off()
    assert counts(database) == {"blobs": 3, "pending": 3}


def test_a_blob_that_comes_back_counts_as_new_and_awaits_its_turn(database: Database) -> None:
    listed(database, [blob("a")])
    describe(database, blob("a"))
    listed(database)
    assert listed(database, [blob("a")]) == (1, 0, 0, 0)
    assert counts(database) == {"blobs": 1, "pending": 1}
    assert database.blobs.to_describe(everything(database)) == [blob("a")]


def test_a_blob_seen_twice_in_one_page_counts_once_with_its_newest_version(database: Database) -> None:
    newer = BlobRef("a", "2", 5, datetime(2024, 6, 1, tzinfo=UTC))
    assert listed(database, [blob("a"), newer, blob("b")]) == (2, 0, 0, 0)
    assert database.blobs.to_describe(everything(database)) == [newer, blob("b")]


def test_a_blob_first_seen_after_the_listing_began_is_not_taken_for_deleted(database: Database, catalogue: str) -> None:
    with database.listings.open_listing(SOURCE, run_id=None) as writer:
        writer.add_page(BlobPage([blob("a")]))
        # Another writer (an event, say) records a blob where this listing has passed already.
        with database.connections.connect() as connection:
            connection.execute(
                "INSERT INTO ledger.blob (source, name, etag, size_bytes, last_modified) "
                "VALUES ('landsat', 'A early name', '1', 1, now())"
            )
        assert writer.finish(complete=True).deleted == 0
    assert counts(database) == {"blobs": 2, "pending": 2}


def test_the_deletion_of_one_source_touches_no_other(database: Database) -> None:
    other = SOURCE.model_copy(update={"name": "other"})
    listed(database, [blob("a")])
    listed(database, [blob("a"), blob("b")], source=other)
    assert listed(database, source=other) == (0, 0, 2, 0)
    assert counts(database) == {"blobs": 1, "pending": 1}


def test_two_listings_of_one_source_take_turns(database: Database) -> None:
    finished: list[ListingDiff] = []

    def second() -> None:
        with database.listings.open_listing(SOURCE, run_id="second") as writer:
            writer.add_page(BlobPage([blob("a"), blob("b")]))
            finished.append(writer.finish(complete=True))

    with database.listings.open_listing(SOURCE, run_id="first") as writer:
        writer.add_page(BlobPage([blob("a")]))
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
        assert finished == []
        writer.finish(complete=True)
    thread.join(20)
    assert finished == [ListingDiff(new=1, unchanged=1, complete=True)]


def test_listings_of_two_sources_do_not_wait_for_each_other(database: Database) -> None:
    with database.listings.open_listing(SOURCE, run_id=None) as one:
        assert listed(database, [blob("a")], source=SOURCE.model_copy(update={"name": "other"})) == (1, 0, 0, 0)
        assert one.finish(complete=True).blobs == 0


def test_a_comparison_shows_what_a_listing_would_change_and_changes_nothing(database: Database, catalogue: str) -> None:
    listed(database, [blob("a"), blob("b"), blob("c")])
    listed(database, [blob("a"), blob("b")])
    with database.connections.connect() as connection:
        before = connection.execute("SELECT xmin, b.* FROM ledger.blob AS b ORDER BY name").fetchall()
    with database.listings.open_comparison(SOURCE.name) as compare:
        found = compare([blob("a"), blob("b", "2"), blob("c"), blob("d")])
        assert (found.new, found.changed, found.unchanged) == (2, 1, 1)
        assert found.digest != 0
        assert compare([blob("a"), blob("b")]).digest == 0
        assert compare([blob("b", "3")]).digest != compare([blob("b", "2")]).digest
        assert compare([]).digest == 0
    with database.connections.connect() as connection:
        assert connection.execute("SELECT xmin, b.* FROM ledger.blob AS b ORDER BY name").fetchall() == before


def test_the_digest_of_a_comparison_does_not_depend_on_pages(database: Database) -> None:
    database.sources.register(SOURCE)
    one, two, three = blob("a"), blob("b"), blob("c")
    with database.listings.open_comparison(SOURCE.name) as compare:
        assert compare([one, two, three]).digest == compare([three]).digest + compare([two, one]).digest
