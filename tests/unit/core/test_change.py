"""When the sensor asks for a run, by a clock the test holds."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo_assets.models import AskedRun, Request
from geo_assets.sensors.change import (
    Decision,
    Observation,
    Progress,
    Watch,
    change_digest,
    decide,
    latest_request,
    next_look,
)

NOON = datetime(2024, 5, 6, 12, tzinfo=UTC)
COUNTS = st.integers(0, 10_000)


def observation(
    *,
    new: int = 0,
    changed: int = 0,
    deleted: int | None = 0,
    pending: int = 0,
    to_withdraw: int = 0,
    digest: str = "d1",
    generation: int = 7,
) -> Observation:
    return Observation(
        new=new,
        changed=changed,
        deleted=deleted,
        pending=pending,
        to_withdraw=to_withdraw,
        digest=digest,
        generation=generation,
    )


def decided(
    observed: Observation, *, last: Request | None = None, run_in_progress: bool = False, now: datetime = NOON
) -> Decision:
    return decide("landsat", observed=observed, last=last, run_in_progress=run_in_progress, now=now)


def test_a_source_without_work_is_skipped() -> None:
    decision = decided(observation())
    assert (decision.request, decision.run_key) == (None, None)
    assert decision.reason == "landsat: nothing to do"


@pytest.mark.parametrize("kind", ["new", "changed", "deleted", "pending", "to_withdraw"])
def test_each_kind_of_work_is_enough_for_a_run(kind: str) -> None:
    decision = decided(observation(**{kind: 1}))  # type: ignore[arg-type]
    assert decision.request == Request(digest="d1", attempt=1, at=NOON)
    assert decision.run_key == "landsat:d1:7:1"


def test_a_listing_that_stopped_early_is_no_work_by_itself() -> None:
    decision = decided(observation(deleted=None))
    assert decision.request is None


def test_a_listing_that_stopped_early_with_new_blobs_says_that_deletions_are_unknown() -> None:
    decision = decided(observation(new=3, deleted=None))
    assert decision.request is not None
    assert "3 new, 0 changed, deletions unknown" in decision.reason


def test_a_run_in_progress_is_waited_for() -> None:
    decision = decided(observation(new=1), run_in_progress=True)
    assert (decision.request, decision.run_key) == (None, None)
    assert "a run is in progress" in decision.reason


@pytest.mark.parametrize(
    ("attempt", "minutes"), [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 32), (7, 60), (8, 60), (5000, 60)]
)
def test_work_that_is_left_is_asked_for_again_after_a_growing_wait(attempt: int, minutes: int) -> None:
    last = Request(digest="d1", attempt=attempt, at=NOON)
    due = NOON + timedelta(minutes=minutes)
    early = decided(observation(pending=1), last=last, now=due - timedelta(seconds=1))
    assert (early.request, early.run_key) == (None, None)
    assert f"next try at {due:%H:%M:%S} UTC" in early.reason
    again = decided(observation(pending=1), last=last, now=due)
    assert again.request == Request(digest="d1", attempt=attempt + 1, at=due)
    assert again.run_key == f"landsat:d1:7:{attempt + 1}"


def test_the_latest_request_is_that_of_whichever_sensor_but_not_of_a_tick_that_died() -> None:
    early, late = Request("d1", 1, NOON), Request("d2", 1, NOON + timedelta(seconds=5))
    for own, asked, latest in [
        (None, None, None),
        (early, None, early),
        (None, AskedRun("other", "k", early), early),
        (early, AskedRun("other", "k", late), late),
        (late, AskedRun("other", "k", early), late),
        (early, AskedRun("mine", "k", late), early),  # asked by a tick whose cursor was never kept
        (late, AskedRun("mine", "k", late), late),
    ]:
        assert latest_request(own, asked, sensor="mine") == latest


def test_another_change_waits_for_nothing() -> None:
    last = Request(digest="d1", attempt=6, at=NOON)
    decision = decided(observation(new=1, digest="d2"), last=last, now=NOON + timedelta(seconds=1))
    assert decision.request is not None
    assert decision.request.attempt == 1
    assert decision.run_key == "landsat:d2:7:1"


def test_the_same_change_after_others_gets_a_key_of_its_own() -> None:
    first = decided(observation(new=1, digest="d1", generation=7))
    other = decided(observation(deleted=1, digest="d2", generation=8), last=first.request)
    again = decided(observation(new=1, digest="d1", generation=9), last=other.request)
    assert len({first.run_key, other.run_key, again.run_key}) == 3


@given(COUNTS, COUNTS, st.none() | COUNTS, COUNTS, COUNTS, st.booleans())
def test_a_first_ask_is_made_exactly_where_there_is_work_and_no_run(
    new: int, changed: int, deleted: int | None, pending: int, to_withdraw: int, run_in_progress: bool
) -> None:
    observed = observation(new=new, changed=changed, deleted=deleted, pending=pending, to_withdraw=to_withdraw)
    work = any((new, changed, deleted, pending, to_withdraw))
    decision = decided(observed, run_in_progress=run_in_progress)
    assert (decision.request is not None) == (work and not run_in_progress)
    assert (decision.run_key is None) == (decision.request is None)


@given(st.lists(st.tuples(st.integers(0, 4000), st.sampled_from(["d1", "d2"]), st.integers(0, 1)), max_size=60))
def test_no_run_key_is_ever_given_twice(steps: list[tuple[int, str, int]]) -> None:
    """Dagster drops a run request whose key it has seen, so a key given twice would be work never done."""
    now, generation, last, keys = NOON, 0, None, []
    previous = "d1"
    for seconds, digest, listed in steps:
        now += timedelta(seconds=seconds)
        # Another change can only come to be through a listing that went into the ledger in between.
        generation += listed or digest != previous
        previous = digest
        decision = decided(observation(new=1, digest=digest, generation=generation), last=last, now=now)
        last = decision.request or last
        keys += [decision.run_key] if decision.run_key else []
    assert len(keys) == len(set(keys))


@given(st.integers(1, 40), st.integers(30, 600))
def test_a_run_that_never_helps_is_asked_for_at_most_hourly_in_the_end(attempts: int, tick_seconds: int) -> None:
    now, last = NOON, None
    asked: list[datetime] = []
    while len(asked) < attempts:
        decision = decided(observation(pending=1), last=last, now=now)
        if decision.request:
            last = decision.request
            asked.append(now)
        now += timedelta(seconds=tick_seconds)
    waits = [later - earlier for earlier, later in pairwise(asked)]
    assert waits == sorted(waits)
    assert all(wait <= timedelta(hours=1, seconds=tick_seconds) for wait in waits)


def test_a_digest_names_what_it_is_made_of() -> None:
    assert change_digest(1, 2, "x") == change_digest(1, 2, "x")
    assert len({change_digest(1, 2), change_digest(12), change_digest(2, 1), change_digest(1, 2, 0)}) == 4


def test_a_source_is_looked_at_again_when_its_interval_has_passed_since_all_of_it_was_seen() -> None:
    hour = timedelta(hours=1)

    def due(watch: Watch, listed_at: datetime | None) -> datetime | None:
        return next_look(watch, listed_at=listed_at, relist=hour, rule="r")

    seen = Watch(seen_whole_at=NOON, rule="r")
    assert due(Watch(), None) is None
    assert due(Watch(), NOON) == NOON + hour
    assert due(seen, None) == NOON + hour
    assert due(seen, NOON + hour) == NOON + 2 * hour
    assert due(replace(seen, rule="other globs"), None) is None
    assert due(replace(seen, progress=Progress("", "m", 1, 7)), NOON) is None
