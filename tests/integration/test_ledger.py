"""The ledger on a real database: what states mean, what attempts leave, what a scope is."""

from datetime import UTC, datetime, timedelta

import pytest

from geo_assets.errors import DatabaseUnavailable
from geo_assets.ledger.blobs import SourceStatus
from geo_assets.models import Failure
from geo_assets.postgres.locks import Lock, take
from geo_assets.resources.database import Database
from tests.ledgers import METADATA, OTHER_RULE, SOURCE, blob, counts, describe, everything, fail, listed, mark


def test_states_follow_a_blob_from_listing_to_item(database: Database) -> None:
    a = blob("a")
    listed(database, [a])
    assert counts(database) == {"blobs": 1, "pending": 1}
    describe(database, a)
    assert counts(database) == {"blobs": 1, "described": 1, "pending": 1}
    assert database.blobs.to_catalogue(everything(database, "catalogue")) == [(a, METADATA)]
    mark(database, SOURCE, [a], run_id="run")
    assert counts(database) == {"blobs": 1, "described": 1, "catalogued": 1}
    listed(database)
    assert counts(database) == {"deleted": 1}


def test_an_unknown_source_has_no_blobs(database: Database) -> None:
    assert database.blobs.status("nosuch") == SourceStatus("nosuch", 0, 0, 0, 0, 0, 0, 0, 0)
    assert database.blobs.failures("nosuch") == []


def test_another_rule_makes_items_anew_but_reads_no_header_again(database: Database) -> None:
    listed(database, [blob("a")])
    describe(database, blob("a"))
    mark(database, SOURCE, [blob("a")], run_id="run")
    database.sources.register(OTHER_RULE)
    assert counts(database) == {"blobs": 1, "described": 1, "pending": 1}
    assert database.blobs.count_pending(SOURCE.name, "describe", as_of=database.now()) == (0, 0)
    assert database.blobs.count_pending(SOURCE.name, "catalogue", as_of=database.now()) == (1, 1000)


def test_another_rule_reopens_what_the_old_one_refused_but_no_bad_file(database: Database) -> None:
    listed(database, [blob("undated"), blob("bad")])
    describe(database, blob("undated"))
    fail(database, blob("undated"), stage="catalogue", code="missing_datetime")
    fail(database, blob("bad"), code="corrupt")
    assert counts(database) == {"blobs": 2, "described": 1, "quarantined": 2}
    database.sources.register(OTHER_RULE)
    assert counts(database) == {"blobs": 2, "described": 1, "pending": 1, "quarantined": 1}


def test_a_permanent_failure_quarantines_and_a_transient_one_stays_pending(database: Database) -> None:
    listed(database, [blob("bad"), blob("later")])
    fail(database, blob("bad"), code="corrupt")
    fail(database, blob("later"), code="storage_unavailable", permanent=False)
    assert counts(database) == {"blobs": 2, "pending": 1, "quarantined": 1}
    standing = [(f.name, f.code, f.permanent, f.attempts) for f in database.blobs.failures(SOURCE.name)]
    assert standing == [("bad", "corrupt", True, 1), ("later", "storage_unavailable", False, 1)]
    assert database.blobs.to_describe(everything(database)) == [blob("later")]


def test_attempts_are_counted_and_each_one_is_kept(database: Database) -> None:
    listed(database, [blob("a")])
    for code in ("storage_unavailable", "unauthorized", "storage_unavailable"):
        fail(database, blob("a"), code=code, permanent=False)
    (standing,) = database.blobs.failures(SOURCE.name)
    assert (standing.attempts, standing.code, standing.run_id) == (3, "storage_unavailable", "run")
    with database.connections.connect() as connection:
        history = connection.execute("SELECT error_code FROM ledger.failed_attempt ORDER BY id").fetchall()
    assert [row["error_code"] for row in history] == ["storage_unavailable", "unauthorized", "storage_unavailable"]


def test_a_new_version_starts_afresh_and_the_history_stays(database: Database) -> None:
    listed(database, [blob("a")])
    fail(database, blob("a"))
    fail(database, blob("a"))
    listed(database, [blob("a", "2")])
    assert counts(database) == {"blobs": 1, "pending": 1}
    assert database.blobs.failures(SOURCE.name) == []
    fail(database, blob("a", "2"))
    assert [f.attempts for f in database.blobs.failures(SOURCE.name)] == [1]
    with database.connections.connect() as connection:
        assert len(connection.execute("SELECT FROM ledger.failed_attempt").fetchall()) == 3


def test_success_ends_a_failure(database: Database) -> None:
    listed(database, [blob("a")])
    fail(database, blob("a"), permanent=False)
    describe(database, blob("a"))
    assert database.blobs.failures(SOURCE.name) == []
    fail(database, blob("a"), stage="catalogue", permanent=False)
    assert [f.attempts for f in database.blobs.failures(SOURCE.name)] == [1]
    mark(database, SOURCE, [blob("a")], run_id="run")
    assert database.blobs.failures(SOURCE.name) == []


def test_what_is_recorded_of_a_version_that_is_gone_marks_nothing(database: Database) -> None:
    listed(database, [blob("a", "2")])
    describe(database, blob("a", "1"))
    fail(database, blob("a", "1"))
    mark(database, SOURCE, [blob("a", "1")], run_id="run")
    assert counts(database) == {"blobs": 1, "pending": 1}
    assert database.blobs.to_describe(everything(database)) == [blob("a", "2")]


def test_a_late_outcome_of_an_older_version_undoes_nothing(database: Database) -> None:
    good, bad = blob("good", "2"), blob("bad", "2")
    listed(database, [good, bad])
    describe(database, good)
    fail(database, bad, code="corrupt")
    describe(database, blob("good", "1"), blob("bad", "1"))
    fail(database, blob("bad", "1"), code="storage_unavailable", permanent=False)
    assert database.blobs.to_catalogue(everything(database, "catalogue")) == [(good, METADATA)]
    assert [(f.name, f.code, f.attempts) for f in database.blobs.failures(SOURCE.name)] == [("bad", "corrupt", 1)]
    assert counts(database) == {"blobs": 2, "described": 1, "pending": 1, "quarantined": 1}


def test_a_message_with_what_postgres_cannot_store_is_stored_and_cut(database: Database) -> None:
    listed(database, [blob("a")])
    failure = Failure("a", "1", "corrupt", "bad\0byte " + "ü" * 5000, permanent=True)
    database.blobs.record_failures(SOURCE, [failure], stage="describe", run_id=None)
    (standing,) = database.blobs.failures(SOURCE.name)
    assert standing.message.startswith("bad byte ")
    assert len(standing.message) == 2000


def test_batches_cover_what_is_pending_once_and_in_order(database: Database) -> None:
    names = [f"{number:03d} {letter}" for number in range(50) for letter in "aZéß_"]
    listed(database, [blob(name) for name in names])
    batches = database.blobs.plan_batches(SOURCE.name, "describe", as_of=database.now(), batch_size=100)
    assert [batch.blobs for batch in batches] == [100, 100, 50]
    found = [blob.name for batch in batches for blob in database.blobs.to_describe(batch)]
    assert found == sorted(names)
    assert sum(batch.size_bytes for batch in batches) == 1000 * len(names)


def test_what_is_listed_later_is_outside_the_scope(database: Database) -> None:
    listed(database, [blob("a"), blob("z")])
    as_of = database.now()
    listed(database, [blob("a"), blob("m"), blob("z", "2")])
    assert database.blobs.count_pending(SOURCE.name, "describe", as_of=as_of) == (1, 1000)
    (batch,) = database.blobs.plan_batches(SOURCE.name, "describe", as_of=as_of, batch_size=100)
    assert [blob.name for blob in database.blobs.to_describe(batch)] == ["a"]


def test_outstanding_work_has_a_digest_that_changes_with_it(database: Database) -> None:
    listed(database, [blob("a"), blob("b")])
    first = database.blobs.outstanding(SOURCE.name)
    assert (first.live, first.pending, first.to_withdraw, first.generation) == (2, 2, 0, 1)
    describe(database, blob("a"))
    second = database.blobs.outstanding(SOURCE.name)
    mark(database, SOURCE, [blob("a")], run_id="run")
    third = database.blobs.outstanding(SOURCE.name)
    assert len({first.digest, second.digest, third.digest}) == 3
    assert database.blobs.outstanding("nosuch").digest == "0"


def test_the_longest_wait_is_of_work_that_a_run_would_do_and_starts_anew_with_a_rule(database: Database) -> None:
    def wait() -> timedelta | None:
        since = database.blobs.outstanding(SOURCE.name).pending_since
        assert database.blobs.status(SOURCE.name).pending_since == since
        return None if since is None else timedelta(hours=round((database.now() - since) / timedelta(hours=1)))

    listed(database, [blob("bad"), blob("done"), blob("late"), blob("lately")])
    with database.connections.connect() as connection:
        connection.execute("UPDATE ledger.source SET updated_at = updated_at - interval '9 hours'")
        for hours, name in ((8, "bad"), (7, "done"), (3, "late")):
            aged = "UPDATE ledger.blob SET etag_seen_at = etag_seen_at - make_interval(hours => %s) WHERE name = %s"
            connection.execute(aged, (hours, name))
    assert wait() == timedelta(hours=8)
    fail(database, blob("bad"))
    describe(database, blob("done"))
    mark(database, SOURCE, [blob("done")], run_id="run")
    fail(database, blob("late"), permanent=False)
    assert wait() == timedelta(hours=3)
    database.sources.register(OTHER_RULE)
    assert wait() == timedelta(0)
    listed(database, [], source=OTHER_RULE)
    assert wait() is None
    assert database.blobs.outstanding("nosuch").pending_since is None


def test_extensions_and_sizes_are_those_of_live_blobs(database: Database) -> None:
    listed(
        database, [blob("a.tif", size_bytes=5), blob("x/b.TIF", size_bytes=1000), blob("c", size_bytes=0), blob("d.gz")]
    )
    listed(database, [blob("a.tif", size_bytes=5), blob("x/b.TIF", size_bytes=1000), blob("c", size_bytes=0)])
    assert database.blobs.extensions(SOURCE.name) == [(".tif", 2, 1005), ("(none)", 1, 0)]
    assert database.blobs.size_histogram(SOURCE.name) == [(0, 2), (3, 1)]


def test_the_clock_is_the_databases_and_has_a_zone(database: Database) -> None:
    assert abs(database.now() - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_worker_is_known_while_its_process_holds_the_lock(database: Database) -> None:
    with database.connections.connect() as worker:
        take(worker, Lock.WORK, "some-run", shared=True)
        assert database.has_worker("some-run")
        assert not database.has_worker("other-run")
    assert not database.has_worker("some-run")


def test_a_server_that_is_away_is_a_transient_error_with_a_remedy() -> None:
    with pytest.raises(DatabaseUnavailable, match="geo-assets db start"):
        Database(database_url="postgresql://me@127.0.0.1:1/none").blobs.status("landsat")
