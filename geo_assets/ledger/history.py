"""What time makes worthless: ledger history, and values between steps.

Here: finding and deleting it by age. Not here: which age (`geo_assets.assets.retention`), nor anything that
tells the state of a blob: a row of the ledger goes only when its blob has long been gone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from geo_assets.ledger.database import Connections


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
