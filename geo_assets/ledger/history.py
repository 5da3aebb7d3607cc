"""What time makes worthless: ledger history, values between steps, and Dagster's step events.

Here: finding and deleting it by age. Not here: which age (`geo_assets.assets.retention`), nor anything that
tells the state of a blob: a row of the ledger goes only when its blob has long been gone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from geo_assets.ledger.database import DatabaseResource
from geo_assets.postgres.databases import dagster_url

# Events that only the timeline of a run shows. Not LOGS_CAPTURED, by which the UI finds what a step printed.
STEP_EVENT_TYPES = [
    "ENGINE_EVENT",
    "HANDLED_OUTPUT",
    "LOADED_INPUT",
    "OBJECT_STORE_OPERATION",
    "RESOURCE_INIT_STARTED",
    "RESOURCE_INIT_SUCCESS",
    "STEP_INPUT",
    "STEP_OUTPUT",
    "STEP_RESTARTED",
    "STEP_START",
    "STEP_SUCCESS",
    "STEP_UP_FOR_RETRY",
    "STEP_WORKER_STARTED",
    "STEP_WORKER_STARTING",
]


@dataclass(frozen=True, slots=True)
class Removed:
    """How much was deleted."""

    rows: int = 0
    size_bytes: int = 0

    def __add__(self, other: "Removed") -> "Removed":
        return Removed(self.rows + other.rows, self.size_bytes + other.size_bytes)


class LedgerHistory(DatabaseResource):
    """What the ledger keeps beyond the state of its blobs."""

    def delete_failed_attempts(self, *, before: datetime) -> Removed:
        """Delete attempts that failed before then; a current reason is in the blob's own row."""
        return Removed(**self.row("delete_failed_attempts", before=before))

    def delete_listings(self, *, before: datetime) -> Removed:
        """Delete the records of listings begun before then, but for the latest of each source."""
        return Removed(**self.row("delete_listings", before=before))

    def delete_received_batches(self, *, before: datetime) -> Removed:
        """Delete the records of batches of messages that were received before then."""
        return Removed(**self.row("delete_received_batches", before=before))

    def delete_messages(self, *, before: datetime) -> Removed:
        """Delete the records of dead letters that were replayed or dropped before then."""
        return Removed(**self.row("delete_messages", before=before))

    def delete_tombstones(self, *, before: datetime) -> Removed:
        """Delete the rows of blobs that were gone before then and whose items are withdrawn."""
        return Removed(**self.row("delete_tombstones", before=before))

    def delete_step_values(self, *, before: datetime, runs_in_progress: Sequence[str]) -> Removed:
        """Delete values stored before then, but those of runs in progress."""
        return Removed(**self.row("delete_step_values", before=before, runs_in_progress=list(runs_in_progress)))


class EventLog(DatabaseResource):
    """Dagster's own tables, for what its interface does not offer: it keeps every event for ever (dagster#33785)."""

    def resolved_url(self) -> str:
        """The URL of Dagster's database."""
        return self.database_url or dagster_url(self.settings)

    def delete_step_events(self, *, before: datetime) -> Removed:
        """Delete the step events and log lines of runs that succeeded before then."""
        return Removed(**self.row("delete_step_events", before=before, event_types=STEP_EVENT_TYPES))

    def runs_of_latest(self) -> set[str]:
        """The runs that hold the latest materialization or observation of an asset, or of a partition of one."""
        return {row["run_id"] for row in self.rows("select_runs_of_latest")}

    def measure(self, run_id: str) -> Removed:
        """What deleting a run's events would remove."""
        row: dict[str, Any] = self.row("measure_run_events", run_id=run_id)
        return Removed(**row)
