"""Listing, Storage Queue and Service Bus side by side: what each brought, how fast, and how soon it was searchable.

Here: asking the ledger. Not here: what Dagster and the terminal show (`geo_assets.assets.event_paths`,
`cli.source_commands`).
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
