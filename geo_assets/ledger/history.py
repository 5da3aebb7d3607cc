"""What the ledger keeps beyond the state of its blobs: how they and their messages came, compared, and for how long.

Here: listing, Storage Queue and Service Bus side by side, by what each brought, how fast, and how soon it was
searchable; deleting by age what time makes worthless, values between steps among it. Not here: what Dagster and the
terminal show, which age (`geo_assets.assets.retention`), nor anything that tells the state of a blob: a row of the
ledger goes only when its blob has long been gone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from geo_assets.ledger.database import Connections

COUNTS = ("batches", "messages", "dropped", "redelivered", "abandoned", "poisoned", "blobs", "searchable")
SHARES = tuple(round(share / 20, 2) for share in range(21))
"""The shares of the blobs, from 0 to 1, by which `PathFigures.latencies` are told."""


@dataclass(frozen=True, slots=True)
class PathFigures:
    """One path since a moment.

    ``messages`` came in ``batches`` and took ``seconds`` from receiving to settling; of a listing they are the blobs
    it showed. ``dropped`` events concern no source; ``redelivered`` messages had been delivered before, ``abandoned``
    went back, ``poisoned`` became dead letters. ``blobs`` were seen first by this path and are there, ``searchable``
    have had an item. ``latencies`` are seconds from the event to the item, within which each of `SHARES` was
    searchable; () where none was. Of a listing they are counted from Last-Modified, for blobs that came after the
    source had once been listed whole by its present globs: what was there before did not wait for a listing.
    """

    path: str
    batches: int
    messages: int
    dropped: int
    redelivered: int
    abandoned: int
    poisoned: int
    seconds: float
    blobs: int
    searchable: int
    latencies: Sequence[float] = ()

    @property
    def messages_a_second(self) -> float | None:
        """Messages a second while there were any; None where there were none."""
        return self.messages / self.seconds if self.messages and self.seconds > 0 else None

    @property
    def seconds_a_thousand(self) -> float | None:
        """What a thousand messages cost, in seconds of one receiver (or lister); None where there were none."""
        return 1000 * self.seconds / self.messages if self.messages else None

    def latency(self, share: float) -> float | None:
        """The seconds within which this share of the blobs was searchable; ``share`` is one of `SHARES`."""
        return self.latencies[SHARES.index(share)] if self.latencies else None

    def as_dict(self) -> dict[str, Any]:
        """The figures by name, as the terminal's JSON and the table in Dagster have them; seconds rounded."""
        rates = {"messages_a_second": self.messages_a_second, "seconds_a_thousand": self.seconds_a_thousand}
        latencies = {
            "latency_p50": self.latency(0.5),
            "latency_p95": self.latency(0.95),
            "latency_max": self.latency(1.0),
        }
        rounded = {name: None if value is None else round(value, 2) for name, value in (rates | latencies).items()}
        return {"path": self.path, **{name: getattr(self, name) for name in COUNTS}, **rounded}


@dataclass(frozen=True, slots=True)
class PathComparison:
    """The part of the ledger that tells how blobs and messages came."""

    connections: Connections

    def compare(self, *, since: datetime) -> list[PathFigures]:
        """The figures of listing, storage_queue and service_bus, in this order. Raises DatabaseUnavailable."""
        rows = self.connections.rows("compare_paths", since=since, shares=list(SHARES))
        return [PathFigures(**{**row, "latencies": tuple(row["latencies"] or ())}) for row in rows]


@dataclass(frozen=True, slots=True)
class Removed:
    """How much was deleted."""

    rows: int = 0
    size_bytes: int = 0

    def __add__(self, other: "Removed") -> "Removed":
        return Removed(self.rows + other.rows, self.size_bytes + other.size_bytes)


@dataclass(frozen=True, slots=True)
class LedgerHistory:
    """What the ledger keeps beyond the state of its blobs."""

    connections: Connections

    def delete_failed_attempts(self, *, before: datetime) -> Removed:
        """Delete attempts that failed before then; a current reason is in the blob's own row."""
        return Removed(**self.connections.row("delete_failed_attempts", before=before))

    def delete_listings(self, *, before: datetime) -> Removed:
        """Delete the records of listings begun before then, but for the latest of each source."""
        return Removed(**self.connections.row("delete_listings", before=before))

    def delete_received_batches(self, *, before: datetime) -> Removed:
        """Delete the records of batches of messages that were received before then."""
        return Removed(**self.connections.row("delete_received_batches", before=before))

    def delete_messages(self, *, before: datetime) -> Removed:
        """Delete the records of dead letters that were replayed or dropped before then."""
        return Removed(**self.connections.row("delete_messages", before=before))

    def delete_tombstones(self, *, before: datetime) -> Removed:
        """Delete the rows of blobs that were gone before then and whose items are withdrawn."""
        return Removed(**self.connections.row("delete_tombstones", before=before))

    def old_api_jobs(self, *, before: datetime) -> list[str]:
        """The ids of the API's jobs that were neither submitted nor seen to change since then."""
        return [row["job_id"] for row in self.connections.rows("select_old_api_jobs", before=before)]

    def delete_api_jobs(self, job_ids: Sequence[str], *, before: datetime) -> Removed:
        """Delete these jobs of the API, but those that were submitted since then after all."""
        return Removed(**self.connections.row("delete_api_jobs", job_ids=list(job_ids), before=before))

    def delete_api_writes(self, *, before: datetime) -> Removed:
        """Delete the records of what was written to the catalogue through the API before then."""
        return Removed(**self.connections.row("delete_api_writes", before=before))

    def delete_step_values(self, *, before: datetime, runs_in_progress: Sequence[str]) -> Removed:
        """Delete values stored before then, but those of runs in progress."""
        return Removed(
            **self.connections.row("delete_step_values", before=before, runs_in_progress=list(runs_in_progress))
        )
