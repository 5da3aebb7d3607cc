"""Blobs in the ledger: one row each, what was seen of it, what was done and what failed.

Here: what stages read and write of blobs. Not here: sources (`ledger.sources`), listings (`ledger.listings`), events
(`ledger.events`), scenes (`ledger.scenes`), deletions (`ledger.decisions`), and deciding anything; the view
`ledger.blob_state` says what a row's etags mean, and the assets say what happens next.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import TypeAdapter

from geo_assets.errors import Unforeseen
from geo_assets.ledger.database import Connections, Executor, read_sql
from geo_assets.ledger.scenes import NO_REMARKS, mark_versions, write_failures
from geo_assets.ledger.sources import SourceLedger
from geo_assets.models import BlobRef, Failure, RasterMetadata
from geo_assets.sources.source import Source
from geo_assets.sources.trouble import Trouble
from geo_assets.stac.remarks import NOTHING, Remarks

StageName = Literal["describe", "catalogue"]
PENDING_STATE: dict[StageName, str] = {"describe": "to_describe", "catalogue": "to_catalogue"}
_METADATA = TypeAdapter(RasterMetadata)


@dataclass(frozen=True, slots=True)
class Batch:
    """A run of blobs by name: the only thing that travels between steps."""

    source: str
    first: str
    last: str
    as_of: datetime
    blobs: int
    size_bytes: int

    def __str__(self) -> str:
        return f"{self.first} .. {self.last}"


@dataclass(frozen=True, slots=True)
class Outstanding:
    """What the ledger knows is left to do for a source, and a digest that names that work.

    ``cogs_to_link`` of the ``pending`` are catalogued already: only their COG is to be linked. ``size_bytes`` is of
    the others, ``pending_since`` of the one of them that waits longest. Items that are ``held`` await consent and are
    no work.
    """

    live: int
    pending: int
    cogs_to_link: int
    to_withdraw: int
    held: int
    digest: str
    generation: int
    size_bytes: int
    pending_since: datetime | None


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """How many blobs of a source are in which state; blobs = catalogued + pending + waiting + quarantined.

    ``cogs_to_link`` of the catalogued can be searched, and only lack the link to their COG. ``pending_since`` is of
    the pending blob that waits longest for its turn, None where none does; ``trouble`` is why the source could not be
    looked at, None where it could.
    """

    source: str
    blobs: int
    described: int
    catalogued: int
    pending: int
    waiting: int
    quarantined: int
    deleted: int
    size_bytes: int
    cogs_to_link: int = 0
    pending_since: datetime | None = None
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True)
class StandingFailure:
    """Why a blob has no item now, and what to do about it, as people are shown it."""

    name: str
    code: str
    message: str
    remedy: str | None
    attempts: int
    permanent: bool
    failed_at: datetime
    run_id: str | None


@dataclass(frozen=True, slots=True)
class UnforeseenFiles:
    """How many files of a source failed for an unforeseen reason, and what is said of the ``latest``."""

    source: str
    files: int
    latest: str
    message: str


@dataclass(frozen=True, slots=True)
class BlobLedger:
    """The blobs of the ledger, and what stages do with them."""

    connections: Connections

    def outstanding(self, source: str) -> Outstanding:
        """What is left to do for ``source`` by what the ledger knows."""
        row = self.connections.row("outstanding", source=source)
        return Outstanding(**{**row, "digest": str(row["digest"])})

    def correlation_ids(self, source: str, *, most: int) -> list[str]:
        """The correlation ids of the events that brought what is left to do for ``source``, the earliest first."""
        rows = self.connections.rows("select_correlation_ids", source=source, most=most)
        return [row["correlation_id"] for row in rows]

    def count_pending(
        self, source: str, stage: StageName, *, as_of: datetime, but: Sequence[str] = ()
    ) -> tuple[int, int]:
        """(blobs, bytes) that await ``stage`` and were seen by ``as_of``; not those that failed since so: ``but``."""
        row = self.connections.row(
            "count_pending", source=source, state=PENDING_STATE[stage], as_of=as_of, but=list(but)
        )
        return row["blobs"], row["size_bytes"]

    def plan_batches(
        self, source: str, stage: StageName, *, as_of: datetime, batch_size: int, by_scene: bool = False
    ) -> list[Batch]:
        """The blobs that await ``stage``, cut into batches of ``batch_size`` by name; or their scenes by id."""
        statement = "plan_scene_batches" if by_scene else "plan_batches"
        rows = self.connections.rows(
            statement, source=source, state=PENDING_STATE[stage], as_of=as_of, batch_size=batch_size
        )
        return [Batch(source=source, as_of=as_of, **row) for row in rows]

    def to_describe(self, batch: Batch) -> list[BlobRef]:
        """The blobs of ``batch`` that still await description."""
        rows = self.connections.rows(
            "select_to_describe", source=batch.source, first=batch.first, last=batch.last, as_of=batch.as_of
        )
        return [BlobRef(**row) for row in rows]

    def to_catalogue(self, batch: Batch) -> list[tuple[BlobRef, RasterMetadata]]:
        """The blobs of ``batch`` that still await their item, with their metadata."""
        rows = self.connections.rows(
            "select_to_catalogue", source=batch.source, first=batch.first, last=batch.last, as_of=batch.as_of
        )
        return [
            (BlobRef(**row), _METADATA.validate_json(metadata)) for row in rows for metadata in [row.pop("metadata")]
        ]

    def described(self, source: str, *, most: int) -> list[RasterMetadata]:
        """The metadata of up to ``most`` rasters of ``source``, the latest described first."""
        rows = self.connections.rows("select_described", source=source, most=most)
        return [_METADATA.validate_json(row["metadata"]) for row in rows]

    def record_described(
        self, source: str, described: Sequence[tuple[BlobRef, RasterMetadata]], *, run_id: str | None
    ) -> None:
        """Store the metadata and mark their versions described, in one transaction."""
        if not described:
            return
        with self.connections.borrow() as connection, connection.transaction():
            connection.cursor().executemany(
                read_sql("store_metadata"),
                [
                    {
                        "source": source,
                        "name": blob.name,
                        "etag": blob.etag,
                        "metadata": _METADATA.dump_json(metadata).decode(),
                        "run_id": run_id,
                    }
                    for blob, metadata in described
                ],
            )
            connection.execute(
                read_sql("mark_described"),
                {
                    "source": source,
                    "run_id": run_id,
                    "names": [blob.name for blob, _ in described],
                    "etags": [blob.etag for blob, _ in described],
                },
            )

    def record_failures(
        self, source: Source, failures: Sequence[Failure], *, stage: StageName, run_id: str | None
    ) -> None:
        """Record why these versions failed: the standing reason and the history of attempts."""
        if not failures:
            return
        with self.connections.borrow() as connection, connection.transaction():
            write_failures(connection, source, failures, stage=stage, run_id=run_id)

    def status(self, source: str) -> SourceStatus:
        """How many blobs of ``source`` are in which state, and its trouble."""
        counts = self.connections.row("count_states", source=source)
        return SourceStatus(source=source, **counts, trouble=SourceLedger(self.connections).troubles().get(source))

    def catalogued_since(self, source: str, moment: datetime) -> int:
        """How many blobs of ``source`` got their item, again or for the first time, since ``moment``."""
        return int(self.connections.row("count_catalogued_since", source=source, since=moment)["blobs"])

    def failures(self, source: str, *, most: int = 1000) -> list[StandingFailure]:
        """The reasons that stand for ``source``, by name."""
        return [StandingFailure(**row) for row in self.connections.rows("select_failures", source=source, most=most)]

    def unforeseen(self) -> list[UnforeseenFiles]:
        """The files for which no reason is known, of blobs and of COGs, by source."""
        return [UnforeseenFiles(**row) for row in self.connections.rows("select_unforeseen", code=Unforeseen.code)]

    def extensions(self, source: str) -> list[tuple[str, int, int]]:
        """(extension, blobs, bytes) of the live blobs, the largest first."""
        rows = self.connections.rows("summarize_extensions", source=source)
        return [(row["extension"], row["blobs"], row["size_bytes"]) for row in rows]

    def size_histogram(self, source: str) -> list[tuple[int, int]]:
        """(decade, blobs): how many live blobs have from 10**decade to 10**(decade+1) - 1 bytes."""
        return [(row["decade"], row["blobs"]) for row in self.connections.rows("summarize_sizes", source=source)]


def mark_catalogued(
    executor: Executor,
    source: Source,
    blobs: Sequence[BlobRef],
    *,
    run_id: str | None,
    remarks: Mapping[str, Remarks] = NO_REMARKS,
) -> None:
    """Mark these versions catalogued under the source's rule; call it only after the read-back.

    What was patched since ``remarks`` were read stays pending.
    """
    if blobs:
        versions = [(blob.name, blob.etag, remarks.get(blob.name, NOTHING).patch_revision) for blob in blobs]
        mark_versions(executor, source, versions, run_id=run_id)
