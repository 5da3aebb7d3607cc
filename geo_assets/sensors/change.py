"""Whether a source needs a run now: the blob sensor's decision, without Dagster and without a clock.

Here: from what was observed to request or skip, with the reason a person reads in the tick.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from geo_assets.models import AskedRun, Request
from geo_assets.sources.trouble import Trouble

FIRST_RETRY = timedelta(minutes=1)
LONGEST_RETRY = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Observation:
    """What a listing shows against the ledger, and what the ledger says is still to do, in blobs.

    ``deleted`` is None where the listing was not complete. ``held`` deletions are held and are no work.
    ``listing_asked`` says that blobs which events reported are still to be seen by a listing.
    ``digest`` names the blobs and versions concerned, ``generation`` the last listing that went into the ledger.
    """

    new: int
    changed: int
    deleted: int | None
    pending: int
    to_withdraw: int
    digest: str
    generation: int
    held: int = 0
    listing_asked: bool = False

    @property
    def work(self) -> int:
        """How many blobs a run would have something to do for, and a listing."""
        return self.new + self.changed + (self.deleted or 0) + self.pending + self.to_withdraw + self.listing_asked

    def __str__(self) -> str:
        deleted = "deletions unknown" if self.deleted is None else f"{self.deleted} deleted"
        withdraw = f", {self.to_withdraw} to remove" if self.to_withdraw else ""
        held = f", {self.held} deletions are held" if self.held else ""
        listing = ", a listing is needed" if self.listing_asked else ""
        return f"{self.new} new, {self.changed} changed, {deleted}, {self.pending} pending{withdraw}{held}{listing}"


def latest_request(own: Request | None, asked: AskedRun | None, *, sensor: str) -> Request | None:
    """The last request of a source: ``own`` is what ``sensor`` remembers, ``asked`` what the ledger has of all sensors.

    What a tick of this very sensor asked for and its cursor does not have, was never launched: that tick died.
    """
    if asked is None or asked.sensor == sensor:
        return own
    return max((each for each in (own, asked.request) if each is not None), key=lambda request: request.at)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a look at a source that takes more than one tick goes on: in which shard, after which marker.

    ``unchanged`` blobs were seen so far, and no other. It holds for the ledger's ``generation`` only: after a
    listing the look starts over.
    """

    shard: str
    marker: str | None
    unchanged: int
    generation: int


@dataclass(frozen=True, slots=True)
class Watch:
    """What the sensor remembers of a source from tick to tick.

    ``seen_whole_at`` is when a look last saw all of it, by the globs of ``rule``, and nothing new, changed or gone.
    """

    request: Request | None = None
    progress: Progress | None = None
    looked_at: datetime | None = None
    seen_whole_at: datetime | None = None
    rule: str = ""


def next_look(watch: Watch, *, listed_at: datetime | None, relist: timedelta, rule: str) -> datetime | None:
    """When the source itself is to be looked at again; None: now, for a look is on its way or none saw all of it yet.

    ``listed_at`` is when it was last listed whole by its present globs, whose digest is ``rule``: a listing sees as
    much as a look.
    """
    seen = [watch.seen_whole_at if watch.rule == rule else None, listed_at]
    latest = max((moment for moment in seen if moment is not None), default=None)
    return None if watch.progress is not None or latest is None else latest + relist


@dataclass(frozen=True, slots=True)
class Decision:
    """Launch a run (``request`` is set, ``run_key`` names it for ever), or why not."""

    reason: str
    request: Request | None = None
    run_key: str | None = None


def decide(
    source: str,
    *,
    observed: Observation,
    last: Request | None,
    run_in_progress: bool,
    now: datetime,
    trouble: Trouble | None = None,
) -> Decision:
    """Launch one run if there is work, no run is under way, and this work is new or its retry is due.

    While the source is in ``trouble`` no retry is due: its run would fail, and hold a place that others wait for.

    A run key dedupes for ever, so it holds the digest of the change, the ledger's generation (the same
    change may come back after others) and the try: work that a failed run left is asked for again after
    1, 2, 4 ... minutes, at most an hour.
    """
    if observed.work == 0:
        held = f"; {observed.held} deletions are held (geo-assets deletions {source})" if observed.held else ""
        return Decision(f"{source}: nothing to do{held}")
    if run_in_progress:
        return Decision(f"{source}: {observed}; a run is in progress")
    attempt = 1
    if last is not None and last.digest == observed.digest:
        due = last.at + min(FIRST_RETRY * 2 ** min(last.attempt - 1, 10), LONGEST_RETRY)
        if now < due:
            return Decision(f"{source}: {observed}; a run was requested already, next try at {due:%H:%M:%S} UTC")
        if trouble is not None:
            return Decision(f"{source}: {observed}; {trouble}")
        attempt = last.attempt + 1
    request = Request(digest=observed.digest, attempt=attempt, at=now)
    run_key = f"{source}:{observed.digest}:{observed.generation}:{attempt}"
    return Decision(f"{source}: {observed}; launching a run", request, run_key)


def change_digest(*parts: object) -> str:
    """A short digest of what was observed, for `Observation.digest`."""
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:16]
