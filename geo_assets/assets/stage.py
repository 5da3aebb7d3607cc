"""What a stage of the work on a source is: what is pending, how it is cut, what is done to a unit, what is reported.

Here: the words that a stage and the engine have in common. Not here: running stages (`engine`), what those share that
work from the ledger (`ledger_stages`), and what each does (`raster_metadata`, `stac_items`, `cogs`, `vectors.tables`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

from dagster import (
    Config,
    DagsterLogManager,
    OpExecutionContext,
)

from geo_assets.errors import (
    GeoAssetsError,
)
from geo_assets.foreign_errors import reason_of, stops_the_batch
from geo_assets.resources.database import Database
from geo_assets.resources.stores import BlobStores, SilverStore
from geo_assets.settings import Settings
from geo_assets.sources.source import Source

Metadata = Mapping[str, Any]

MAX_PREVIEWS = 24


class Unit(Protocol):
    """What has one outcome: a blob, a raster with its metadata, a scene."""

    @property
    def name(self) -> str:
        """Which one it is, within its source."""
        ...


class StageBatch(Protocol):
    """What one mapped step works on: the only thing that travels to it."""

    @property
    def source(self) -> str:
        """The source that all of it is of."""
        ...

    def __str__(self) -> str:
        """Which units it has, for the log."""
        ...


B = TypeVar("B", bound=StageBatch)
U = TypeVar("U", bound=Unit)
D = TypeVar("D")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[U, D]):
    """The result of work on one unit, or the reason why there is none."""

    unit: U
    result: D | GeoAssetsError


def outcome_of(unit: U, work: Callable[[], D]) -> Outcome[U, D]:
    """The outcome of ``work`` on one unit, whatever it raises. Raises what is no unit's own."""
    try:
        return Outcome(unit, work())
    except Exception as error:
        if stops_the_batch(error):
            raise
        return Outcome(unit, reason_of(error))


@dataclass(frozen=True, slots=True)
class Plan(Generic[B]):
    """The batches of a run by the name of their step, and how many blobs and bytes they are."""

    batches: Sequence[tuple[str, B]]
    blobs: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Scope:
    """What a run's stage has set out to do: the blobs that were pending and had been seen by ``as_of``."""

    source: str
    as_of: datetime
    blobs: int
    size_bytes: int
    batches: int
    withdrawn: int
    started_at: float


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What one batch did, in blobs and bytes read; the failures themselves are in the ledger.

    ``passed_over`` changed meanwhile. ``previews`` are (blob name, PNG as base64): values between steps are JSON.
    """

    done: int = 0
    failed: int = 0
    passed_over: int = 0
    bytes_read: int = 0
    previews: tuple[tuple[str, str], ...] = ()

    def __add__(self, other: "BatchReport") -> "BatchReport":
        return BatchReport(
            done=self.done + other.done,
            failed=self.failed + other.failed,
            passed_over=self.passed_over + other.passed_over,
            bytes_read=self.bytes_read + other.bytes_read,
            previews=(*self.previews, *other.previews)[:MAX_PREVIEWS],
        )

    def __str__(self) -> str:
        passed_over = f", {self.passed_over} overwritten or gone meanwhile" if self.passed_over else ""
        return f"{self.done} done, {self.failed} failed{passed_over}"


@dataclass(frozen=True, slots=True)
class StageRun:
    """One step of a run of a stage: its source and all that it may use."""

    source: Source
    settings: Settings
    context: OpExecutionContext
    blob_stores: BlobStores
    database: Database

    @classmethod
    def of(cls, context: OpExecutionContext, source: str) -> Self:
        """The step that ``context`` is of, in its run's turn.

        Raises InvalidConfiguration where no such source is declared, SourceBusy where another run works on it.
        """
        given = context.resources
        run = cls(
            given.sources_file.get(source), given.sources_file.settings, context, given.blob_stores, given.database
        )
        run.database.take_turn(run.source.name, run_id=run.run_id)
        return run

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self.context.run_id

    @property
    def silver_store(self) -> SilverStore:
        """Where files go that are made; of a stage whose ``resources`` name it."""
        store: SilverStore = self.context.resources.silver_store
        return store

    @property
    def log(self) -> DagsterLogManager:
        """The log of the run."""
        return self.context.log


class Stage(ABC, Generic[B, U, D]):
    """One stage of the work on a source: what is pending, how it is cut, what is done to a unit, what is reported."""

    asset: ClassVar[str]
    after: ClassVar[tuple[str, ...]]
    """The assets that come before it."""
    ops: ClassVar[tuple[str, str, str]]
    """The names of the ops: plan, work, finish."""
    descriptions: ClassVar[tuple[str, str, str]]
    """What each op does."""
    description: ClassVar[str]
    group: ClassVar[str]
    kinds: ClassVar[frozenset[str]]
    pool: ClassVar[str]
    batch_type: ClassVar[type]
    options: ClassVar[type[Config] | None] = None
    """The configuration of its plan."""
    resources: ClassVar[frozenset[str]] = frozenset({"sources_file", "blob_stores", "database"})
    """The Dagster resources that its ops need."""
    reads_store: ClassVar[bool] = True
    """Whether work reads blobs: while the store is down it is not begun."""
    store_is_down_after: ClassVar[int] = 8
    """When the store cannot deliver this many units in a row, the store is at fault."""
    step_size: ClassVar[int] = 1
    """Results are kept in steps of this many units: a killed worker loses no more."""
    passes_over: ClassVar[tuple[type[GeoAssetsError], ...]] = ()
    """Reasons that are not recorded: the next listing brings what is there now."""
    tells_each: ClassVar[bool] = False
    """Whether the log has a line for each refusal, and each unit gets the reason for which its batch stopped."""

    def refusal(self, source: Source) -> GeoAssetsError | None:  # noqa: ARG002
        """Why the stage is not for sources like this one; None where it is."""
        return None

    def prepare(self, run: StageRun, options: Any) -> int:  # noqa: ARG002
        """Do what comes before the plan; how many items were withdrawn."""
        return 0

    @abstractmethod
    def plan(self, run: StageRun, *, as_of: datetime) -> Plan[B]:
        """What is pending of the source now, in batches."""

    @abstractmethod
    def units(self, run: StageRun, batch: B) -> Sequence[U]:
        """The units of a batch that are still pending."""

    @abstractmethod
    def work(self, run: StageRun, units: Sequence[U]) -> Generator[Outcome[U, D], None, None]:
        """Work on the units; the outcomes in any order, as they come.

        An error of ours that is raised stops the batch. Whatever else is raised has the units done one by one.
        """

    @abstractmethod
    def keep(self, run: StageRun, done: Sequence[tuple[U, D]]) -> Sequence[Outcome[U, D]]:
        """Keep results; of each its outcome then. What is raised has them kept in halves, and then one by one."""

    @abstractmethod
    def refuse(self, run: StageRun, refused: Sequence[Outcome[U, D]]) -> None:
        """Record reasons."""

    def tally(self, outcome: Outcome[U, D]) -> BatchReport:
        """What one outcome adds to the report."""
        return BatchReport(failed=1) if isinstance(outcome.result, GeoAssetsError) else BatchReport(done=1)

    @abstractmethod
    def finish(self, run: StageRun, scope: Scope, report: BatchReport) -> Metadata:
        """Do what comes after all batches; what the materialization shows."""

    @abstractmethod
    def check(self, run: StageRun, scope: Scope) -> None:
        """Raise where the ledger says that something is left to do.

        The reports are not asked: a re-execution from failure collects only the re-run steps and would report success
        (dagster#20925, dagster#30077).
        """
