"""The quarantine: blobs whose present version cannot have an item, why, and trying them again.

Here: what people ask of it. Not here: putting a blob there (`geo_assets.ledger.blobs`).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from geo_assets.ledger.database import Connections


@dataclass(frozen=True, slots=True)
class QuarantineFilter:
    """Which quarantined blobs: of a source, with a code, with a name that starts so; None lets all through."""

    source: str | None = None
    code: str | None = None
    prefix: str | None = None

    def bound(self) -> dict[str, str | None]:
        """As values of a statement."""
        return {"source": self.source, "code": self.code, "prefix": self.prefix}


@dataclass(frozen=True, slots=True)
class QuarantinedBlob:
    """A blob without an item and the standing reason; ``stage`` is describe or catalogue."""

    source: str
    name: str
    code: str
    message: str
    remedy: str | None
    stage: str
    attempts: int
    failed_at: datetime
    run_id: str | None


@dataclass(frozen=True, slots=True)
class Quarantine:
    """The quarantined blobs of the ledger."""

    connections: Connections

    def blobs(self, which: QuarantineFilter, *, most: int) -> list[QuarantinedBlob]:
        """Up to ``most`` of them by source and name."""
        return [
            QuarantinedBlob(**row) for row in self.connections.rows("select_quarantined", **which.bound(), most=most)
        ]

    def counts(self, which: QuarantineFilter) -> list[tuple[str, str, int]]:
        """(source, code, blobs), the most frequent code of a source first."""
        return [
            (row["source"], row["code"], row["blobs"])
            for row in self.connections.rows("count_quarantined", **which.bound())
        ]

    def replay(self, which: QuarantineFilter) -> int:
        """Put them back to the work that is left; how many. The next run tries each once."""
        return int(self.connections.row("replay_quarantined", **which.bound())["replayed"])

    def explain(self, source: str, name: str, *, most: int = 20) -> dict[str, Any] | None:
        """The state of one blob, with up to ``most`` failed attempts at it; None if the ledger does not know it."""
        rows = self.connections.rows("select_blob_state", source=source, name=name)
        return (
            {**rows[0], "attempts": self.connections.rows("select_attempts", source=source, name=name, most=most)}
            if rows
            else None
        )
