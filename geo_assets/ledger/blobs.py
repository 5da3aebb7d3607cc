"""The ledger: one row a blob, what was seen of it, what was done and what failed.

Here: every read and write of the schema `ledger`, but for listings (`ledger.listings`), events (`ledger.events`),
scenes (`ledger.scenes`), deletions (`ledger.deletions`) and former sources (`catalogue.handover`). Not here: deciding
anything; the view `ledger.blob_state` says what a row's etags mean, and the assets say what happens next.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal, Self

import psycopg
from dagster import InitResourceContext
from pydantic import PrivateAttr, TypeAdapter

from geo_assets.errors import Unforeseen
from geo_assets.ledger.database import Connection
from geo_assets.ledger.deletions import DeletionLedger
from geo_assets.ledger.events import EventLedger
from geo_assets.ledger.scenes import NO_REMARKS, write_failures
from geo_assets.ledger.statements import read_sql
from geo_assets.ledger.turns import take_turn
from geo_assets.models import AskedRun, BlobRef, Failure, RasterMetadata, Request
from geo_assets.postgres.errors import database_errors
from geo_assets.postgres.locks import Lock, take, try_to_take
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
    """Why a blob has no item now, as people are shown it."""

    name: str
    code: str
    message: str
    attempts: int
    permanent: bool
    failed_at: datetime
    run_id: str | None


@dataclass(frozen=True, slots=True)
class Poison:
    """The dead letters of one queue that wait for a person, with what the ``latest`` of them says."""

    path: str
    queue: str
    messages: int
    latest: int
    error_code: str
    error_message: str
    correlation_id: str | None
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class UnforeseenFiles:
    """How many files of a source failed for an unforeseen reason, and what is said of the ``latest``."""

    source: str
    files: int
    latest: str
    message: str


class Ledger(EventLedger, DeletionLedger):
    """The ledger in the catalogue's database."""

    _turns: dict[tuple[str, str], Connection] = PrivateAttr(default_factory=dict)
    """The sessions that keep a source for a run of this process."""

    @contextmanager
    def yield_for_execution(self, context: InitResourceContext) -> Iterator[Self]:
        """Within a run, hold a lock that says its worker lives: PostgreSQL releases it when the worker dies."""
        self.setup_for_execution(context)
        if context.run is None:
            yield self
            return
        with self.working_on(context.run.run_id):
            try:
                yield self
            finally:
                self.end_turns(context.run.run_id)

    def take_turn(self, source: str, *, run_id: str) -> None:
        """Have the run work on ``source`` from now on, until this resource is done with, or this process ends.

        To be called at the start of each step. Raises SourceBusy where another run works on it.
        """
        turn = self._turns.get((run_id, source))
        if turn is not None:
            with suppress(psycopg.OperationalError):  # it may have been cut since, and another's turn have come
                turn.execute("SELECT 1")
                return
            turn.close()
        with database_errors():
            self._turns[run_id, source] = turn = self.open()
            try:
                take_turn(turn, source, run_id=run_id)
            except BaseException:
                self._turns.pop((run_id, source)).close()
                raise

    def end_turns(self, run_id: str) -> None:
        """Let other runs have what this process keeps for the run."""
        for key in [key for key in self._turns if key[0] == run_id]:
            self._turns.pop(key).close()

    @contextmanager
    def working_on(self, work_id: str) -> Iterator[None]:
        """Hold the lock of a run, or of a task of one, for as long as this process works on it."""
        with self.connect() as connection:
            take(connection, Lock.WORK, work_id, shared=True)
            yield

    def has_worker(self, work_id: str) -> bool:
        """Whether a process that works on this run or task is connected to the database."""
        with self.connect() as connection:
            return not try_to_take(connection, Lock.WORK, work_id)

    def outstanding(self, source: str) -> Outstanding:
        """What is left to do for ``source`` by what the ledger knows."""
        row = self.row("outstanding", source=source)
        return Outstanding(**{**row, "digest": str(row["digest"])})

    def correlation_ids(self, source: str, *, most: int) -> list[str]:
        """The correlation ids of the events that brought what is left to do for ``source``, the earliest first."""
        rows = self.rows("select_correlation_ids", source=source, most=most)
        return [row["correlation_id"] for row in rows]

    def count_pending(
        self, source: str, stage: StageName, *, as_of: datetime, but: Sequence[str] = ()
    ) -> tuple[int, int]:
        """(blobs, bytes) that await ``stage`` and were seen by ``as_of``; not those that failed since so: ``but``."""
        row = self.row("count_pending", source=source, state=PENDING_STATE[stage], as_of=as_of, but=list(but))
        return row["blobs"], row["size_bytes"]

    def now(self) -> datetime:
        """The database's clock: the only one that scopes are measured with."""
        with self.borrow() as connection:
            row = connection.execute("SELECT clock_timestamp() AS now").fetchone()
        assert row is not None
        moment: datetime = row["now"]
        return moment

    @contextmanager
    def open_clock(self) -> Iterator[Callable[[], datetime]]:
        """`now` on a connection of its own, which may be asked from another thread."""
        with self.connect() as connection:

            def now() -> datetime:
                with database_errors():
                    row = connection.execute("SELECT clock_timestamp() AS now").fetchone()
                assert row is not None
                moment: datetime = row["now"]
                return moment

            yield now

    def plan_batches(
        self, source: str, stage: StageName, *, as_of: datetime, batch_size: int, by_scene: bool = False
    ) -> list[Batch]:
        """The blobs that await ``stage``, cut into batches of ``batch_size`` by name; or their scenes by id."""
        statement = "plan_scene_batches" if by_scene else "plan_batches"
        rows = self.rows(statement, source=source, state=PENDING_STATE[stage], as_of=as_of, batch_size=batch_size)
        return [Batch(source=source, as_of=as_of, **row) for row in rows]

    def blobs_to_describe(self, batch: Batch) -> list[BlobRef]:
        """The blobs of ``batch`` that still await description."""
        rows = self.rows(
            "select_to_describe", source=batch.source, first=batch.first, last=batch.last, as_of=batch.as_of
        )
        return [BlobRef(**row) for row in rows]

    def blobs_to_catalogue(self, batch: Batch) -> list[tuple[BlobRef, RasterMetadata]]:
        """The blobs of ``batch`` that still await their item, with their metadata."""
        rows = self.rows(
            "select_to_catalogue", source=batch.source, first=batch.first, last=batch.last, as_of=batch.as_of
        )
        return [
            (BlobRef(**row), _METADATA.validate_json(metadata)) for row in rows for metadata in [row.pop("metadata")]
        ]

    def described(self, source: str, *, most: int) -> list[RasterMetadata]:
        """The metadata of up to ``most`` rasters of ``source``, the latest described first."""
        rows = self.rows("select_described", source=source, most=most)
        return [_METADATA.validate_json(row["metadata"]) for row in rows]

    def record_described(
        self, source: str, described: Sequence[tuple[BlobRef, RasterMetadata]], *, run_id: str | None
    ) -> None:
        """Store the metadata and mark their versions described, in one transaction."""
        if not described:
            return
        with self.borrow() as connection, connection.transaction():
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

    def record_catalogued(
        self,
        source: Source,
        blobs: Sequence[BlobRef],
        *,
        run_id: str | None,
        remarks: Mapping[str, Remarks] = NO_REMARKS,
    ) -> None:
        """Mark these versions catalogued under the source's rule; call it only after the read-back.

        What was patched since ``remarks`` were read stays pending.
        """
        if not blobs:
            return
        with self.borrow() as connection:
            connection.execute(
                read_sql("mark_catalogued"),
                {
                    "source": source.name,
                    "rule_digest": source.rule_digest,
                    "run_id": run_id,
                    "names": [blob.name for blob in blobs],
                    "etags": [blob.etag for blob in blobs],
                    "patch_revisions": [remarks.get(blob.name, NOTHING).patch_revision for blob in blobs],
                },
            )

    def record_failures(
        self, source: Source, failures: Sequence[Failure], *, stage: StageName, run_id: str | None
    ) -> None:
        """Record why these versions failed: the standing reason and the history of attempts."""
        if not failures:
            return
        with self.borrow() as connection, connection.transaction():
            write_failures(connection, source, failures, stage=stage, run_id=run_id)

    def status(self, source: str) -> SourceStatus:
        """How many blobs of ``source`` are in which state, and its trouble."""
        counts = self.row("count_states", source=source)
        return SourceStatus(source=source, **counts, trouble=self.troubles().get(source))

    def catalogued_since(self, source: str, moment: datetime) -> int:
        """How many blobs of ``source`` got their item, again or for the first time, since ``moment``."""
        return int(self.row("count_catalogued_since", source=source, since=moment)["blobs"])

    def failures(self, source: str, *, most: int = 1000) -> list[StandingFailure]:
        """The reasons that stand for ``source``, by name."""
        return [StandingFailure(**row) for row in self.rows("select_failures", source=source, most=most)]

    def poison(self) -> list[Poison]:
        """The dead letters that were neither replayed nor dropped, by queue."""
        return [Poison(**row) for row in self.rows("select_poison")]

    def unforeseen(self) -> list[UnforeseenFiles]:
        """The files for which no reason is known, of blobs and of COGs, by source."""
        return [UnforeseenFiles(**row) for row in self.rows("select_unforeseen", code=Unforeseen.code)]

    def troubles(self) -> dict[str, Trouble]:
        """The sources that could not be looked at when they last were, with what is known of it."""
        return {row.pop("source"): Trouble(**row) for row in self.rows("select_source_troubles")}

    def record_trouble(self, source: str, trouble: Trouble) -> None:
        """Remember that ``source``, which is registered, could not be looked at."""
        with self.borrow() as connection:
            connection.execute(read_sql("store_source_trouble"), {"source": source, **asdict(trouble)})

    def clear_trouble(self, source: str) -> None:
        """Forget it: ``source`` could be looked at, or listed."""
        with self.borrow() as connection:
            connection.execute(read_sql("delete_source_trouble"), {"source": source})

    def run_requests(self, source: str | None = None) -> dict[str, AskedRun]:
        """The runs that sensors last asked for, by source: of ``source``, or of all."""
        return {
            row.pop("source"): AskedRun(row.pop("sensor"), row.pop("run_key"), Request(**row))
            for row in self.rows("select_run_requests", source=source)
        }

    def record_run_request(self, source: str, asked: AskedRun, *, after: AskedRun | None) -> bool:
        """Remember that a run of ``source``, which is registered, is asked for; whether it is this sensor's to ask.

        It is not if another request than ``after`` was recorded last: another sensor asked meanwhile.
        """
        bound = {"sensor": asked.sensor, "run_key": asked.run_key, **asdict(asked.request)}
        previous_at = after.request.at if after else None
        return bool(self.rows("record_run_request", source=source, **bound, previous_at=previous_at))

    def extensions(self, source: str) -> list[tuple[str, int, int]]:
        """(extension, blobs, bytes) of the live blobs, the largest first."""
        rows = self.rows("summarize_extensions", source=source)
        return [(row["extension"], row["blobs"], row["size_bytes"]) for row in rows]

    def size_histogram(self, source: str) -> list[tuple[int, int]]:
        """(decade, blobs): how many live blobs have from 10**decade to 10**(decade+1) - 1 bytes."""
        return [(row["decade"], row["blobs"]) for row in self.rows("summarize_sizes", source=source)]
