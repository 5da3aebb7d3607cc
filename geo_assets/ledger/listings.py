"""Listings in the ledger: taking a container's pages in, going on after a crash, and telling what is gone.

Here: what writes `ledger.blob` from a listing, and what compares a page without writing. Not here: fetching pages
(`blob_store`), choosing blobs (`storage.listing`), the rest of the ledger (`ledger`).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from geo_assets.ledger.database import Connection, Connections, read_sql
from geo_assets.ledger.sources import SourceLedger
from geo_assets.models import BlobPage, BlobRef
from geo_assets.postgres.locks import Lock, take
from geo_assets.sources.source import Source

RESUME_FOR = timedelta(days=1)
"""A listing that began longer ago starts over: how long a store honours its markers is documented nowhere."""


@dataclass(frozen=True, slots=True)
class ListingDiff:
    """What one listing found against the ledger, in blobs; ``resumed_after`` of them before this run.

    ``renamed`` are among the deleted by their old name and among the new by their new one. ``repaired`` are those of
    the new, changed and deleted that an event should have told before.
    """

    new: int = 0
    changed: int = 0
    deleted: int = 0
    unchanged: int = 0
    renamed: int = 0
    repaired: int = 0
    complete: bool = False
    resumed_after: int = 0

    @property
    def blobs(self) -> int:
        """How many blobs of the source the listing saw."""
        return self.new + self.changed + self.unchanged

    def __add__(self, other: "ListingDiff") -> "ListingDiff":
        """Both together, as of two shards of one source."""
        return ListingDiff(
            new=self.new + other.new,
            changed=self.changed + other.changed,
            deleted=self.deleted + other.deleted,
            unchanged=self.unchanged + other.unchanged,
            renamed=self.renamed + other.renamed,
            repaired=self.repaired + other.repaired,
            complete=self.complete and other.complete,
            resumed_after=self.resumed_after + other.resumed_after,
        )


@dataclass(frozen=True, slots=True)
class PageComparison:
    """What one page of a listing would change in the ledger, in blobs, and a sum that names the changes.

    ``size_bytes`` is of the new and changed blobs.
    """

    new: int
    changed: int
    unchanged: int
    digest: int
    size_bytes: int


class ListingWriter:
    """Takes a listing page by page into the ledger; see `ListingLedger.open_listing`.

    ``marker`` is where an earlier run left off (None: the start), ``diff`` and ``ignored`` what was seen so far,
    by that run too.
    """

    def __init__(
        self,
        connection: Connection,
        row: DictRow,
        *,
        source: Source,
        shard: str,
        run_id: str | None,
        event_allowance: timedelta | None,
    ) -> None:
        self._connection = connection
        self._bound = {
            "listing_id": row["id"],
            "started_at": row["started_at"],
            "source": source.name,
            # A whole source answers for all of its rows, also for those of an earlier url.
            "scope": source.prefix + shard if shard else "",
            "run_id": run_id,
            "event_allowance": event_allowance if row["follows"] else None,
        }
        self._pages: int = row["pages"]
        self.marker: str | None = row["marker"]
        self.ignored: Counter[str] = Counter(row["ignored"])
        seen = ListingDiff(**{name: row[name] for name in ("new", "changed", "unchanged", "repaired")})
        self.diff = replace(seen, resumed_after=seen.blobs)
        connection.execute(read_sql("create_listed"))

    def add_page(self, page: BlobPage, *, ignored: Counter[str] | None = None) -> None:
        """Merge one page and commit it, together with where the next one begins and what was passed over so far.

        Of blobs that were looked at after the page was asked for, the ledger knows more, and they stay as they are.
        A page that does not say when that was counts as asked for when the listing began.
        """
        self._pages += 1
        if ignored is not None:
            self.ignored = ignored
        progress = {
            "page": self._pages,
            "marker": page.next_marker,
            "looked_at": page.asked_at or self._bound["started_at"],
            "ignored": Jsonb(dict(self.ignored)),
        }
        with self._connection.transaction():
            with self._connection.cursor().copy(read_sql("copy_listed")) as copy:
                copy.set_types(_BLOB_TYPES)
                for blob in page:
                    copy.write_row(_blob_values(blob))
            self._connection.execute(read_sql("look_up_by_key"))
            bound = {**self._bound, **progress}
            row = self._connection.execute(read_sql("merge_page"), bound, prepare=False).fetchone()
        assert row is not None
        self.diff = replace(self.diff, **row)

    def finish(self, *, complete: bool) -> ListingDiff:
        """Close the listing; only a complete one may say that the blobs it did not see are gone."""
        with self._connection.transaction():
            row = self._connection.execute(read_sql("mark_deleted"), self._bound).fetchone() if complete else None
            if row is not None:
                repaired = self.diff.repaired + row["repaired"]
                self.diff = replace(self.diff, deleted=row["deleted"], repaired=repaired)
            self.diff = replace(self.diff, complete=complete)
            self._end(complete=complete)
        return self.diff

    def start_over_next_time(self) -> None:
        """Close the listing unfinished, for the store does not honour its marker any more."""
        self._end(complete=False)

    def _end(self, *, complete: bool) -> None:
        ending = {"complete": complete, "deleted": self.diff.deleted, "repaired": self.diff.repaired}
        self._connection.execute(read_sql("finish_listing"), {**self._bound, **ending})


@dataclass(frozen=True, slots=True)
class ListingLedger:
    """The part of the ledger that listings go through."""

    connections: Connections

    @contextmanager
    def open_listing(
        self, source: Source, *, run_id: str | None, shard: str = "", event_allowance: timedelta | None = None
    ) -> Iterator[ListingWriter]:
        """A writer for a listing of the source, or of one shard of it.

        A listing whose run died is gone on with where the source's globs are still the same and it began within
        `RESUME_FOR`. Listings of one source take turns, so an older one never undoes a newer one. ``event_allowance``
        is how long an event may take to tell what the listing finds; None if no events report this source.
        """
        SourceLedger(self.connections).register(source)
        bound: dict[str, Any] = {
            "source": source.name,
            "shard": shard,
            "rule": source.listing_digest,
            "run_id": run_id,
            "resume_for": RESUME_FOR,
        }
        with self.connections.connect() as connection:
            take(connection, Lock.LISTING, source.name)
            with connection.transaction():
                row = connection.execute(read_sql("resume_listing"), bound).fetchone()
                row = row or connection.execute(read_sql("start_listing"), bound).fetchone()
                assert row is not None
                connection.execute(read_sql("drop_abandoned_listings"), {**bound, "listing_id": row["id"]})
            yield ListingWriter(
                connection, row, source=source, shard=shard, run_id=run_id, event_allowance=event_allowance
            )

    def shards_in_turn(self, source: Source) -> list[str]:
        """The source's shards (without any: the whole source as one), unfinished ones first, the latest listed last.

        So runs that never get to the end still come past every shard.
        """
        listed = {row["shard"]: row for row in self.connections.rows("select_shards_listed", source=source.name)}

        def turn(shard: str) -> tuple[bool, float]:
            row = listed.get(shard, {"unfinished": False, "finished_at": None})
            return not row["unfinished"], row["finished_at"].timestamp() if row["finished_at"] else 0.0

        return sorted(source.shards or ("",), key=turn)

    def listed_at(self, source: Source) -> datetime | None:
        """When the source was last listed whole by its present globs and shards; None where it never was."""
        moment: datetime | None = self.connections.row("select_listed_at", **_whole(source))["listed_at"]
        return moment

    def listing_asked_at(self, source: Source) -> datetime | None:
        """Since when a listing has to see what was too much for a look; None where nothing is left to one."""
        rows = self.connections.rows("select_listing_asked", **_whole(source))
        return rows[0]["asked_at"] if rows else None

    def record_gone_outside_shards(self, source: Source, *, as_of: datetime, run_id: str | None) -> int:
        """Mark what the ledger has outside the source's shards as deleted; how many blobs that were.

        Call it only where the store was seen, after ``as_of``, to have none there.
        """
        shards = [source.prefix + shard for shard in source.shards]
        row = self.connections.row(
            "mark_outside_deleted", source=source.name, shards=shards, as_of=as_of, run_id=run_id
        )
        return int(row["deleted"])

    @contextmanager
    def open_comparison(self, source: str) -> Iterator[Callable[[Sequence[BlobRef]], PageComparison]]:
        """A function that compares a page of a listing with the ledger and changes nothing."""
        with self.connections.connect() as connection:

            def compare(blobs: Sequence[BlobRef]) -> PageComparison:
                bound = {
                    "source": source,
                    "names": [blob.name for blob in blobs],
                    "etags": [blob.etag for blob in blobs],
                    "sizes": [blob.size_bytes for blob in blobs],
                }
                with connection.transaction():
                    connection.execute(read_sql("look_up_by_key"))
                    row = connection.execute(read_sql("compare_page"), bound, prepare=False).fetchone()
                assert row is not None
                return PageComparison(**{**row, "digest": int(row["digest"])})

            yield compare


def _whole(source: Source) -> dict[str, Any]:
    """What names the listings that together see all of the source."""
    return {"source": source.name, "shards": list(source.shards or ("",)), "rule": source.listing_digest}


# Binary takes psycopg a fifth of the time of text.
_BLOB_TYPES = ("text", "text", "int8", "timestamptz", "text", "text")


def _blob_values(blob: BlobRef) -> tuple[object, ...]:
    return blob.name, blob.etag, blob.size_bytes, blob.last_modified, blob.content_type, blob.md5
