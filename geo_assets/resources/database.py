"""The catalogue's database as a Dagster resource: all that is kept there, by what it is kept for, values of steps, too.

Here: which database, a name for each part of it, the sessions by which a run says that its worker lives and whose turn
a source is, and the IO manager: every host of a run finds there what steps hand on. Not here: the parts themselves
(`geo_assets.ledger`, `geo_assets.catalogue` and their neighbours), which know no Dagster, and removing what finished
runs leave (`geo_assets.ledger.history`).

Steps hand on references (a batch, a scope, a count), so a value is a few hundred bytes of JSON.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Self

import psycopg
from dagster import ConfigurableIOManager, InitResourceContext, InputContext, OutputContext
from psycopg.types.json import Jsonb
from pydantic import Field, PrivateAttr, TypeAdapter

from geo_assets.catalogue.pgstac import Collections
from geo_assets.configured import ConfiguredResource
from geo_assets.errors import GeoAssetsError, InvalidConfiguration, TransientError
from geo_assets.events.dead_letters import SetAsideRecords
from geo_assets.ledger.blobs import BlobLedger
from geo_assets.ledger.cogs import CogLedger
from geo_assets.ledger.database import Connection, Connections, read_sql
from geo_assets.ledger.decisions import DeletionLedger, ItemPatches, Quarantine
from geo_assets.ledger.events import EventLedger
from geo_assets.ledger.history import LedgerHistory, PathComparison
from geo_assets.ledger.listings import ListingLedger
from geo_assets.ledger.scenes import SceneLedger
from geo_assets.ledger.sources import SourceLedger, take_turn
from geo_assets.postgres.databases import catalogue_url, owner_url
from geo_assets.postgres.errors import database_errors
from geo_assets.postgres.locks import Lock, take, try_to_take

# PgSTAC's loader, alembic and what reads vectors take seconds: only what asks for these parts imports them.
if TYPE_CHECKING:
    from geo_assets.catalogue.census import Census
    from geo_assets.catalogue.handover import SourceHandover
    from geo_assets.catalogue.pgstac import PgStac
    from geo_assets.ledger.backup import CatalogueBackup
    from geo_assets.ledger.schema import CatalogueSchema
    from geo_assets.vectors.tables import VectorTables


class Database(ConfiguredResource):
    """The catalogue's database, with PgSTAC, the ledger and the tables of vectors.

    Each part is asked for by its name, and raises DatabaseUnavailable where the embedded cluster is not running.
    """

    database_url: str = Field(
        default="",
        description="PostgreSQL URL of the catalogue. Empty: GEO_ASSETS_DATABASE_URL, else the embedded cluster.",
    )
    owner_database_url: str = Field(
        default="",
        description="URL of the same database for its owner, who migrates it. Empty: as database_url, and where that "
        "is empty too, GEO_ASSETS_OWNER_DATABASE_URL.",
    )
    _turns: dict[tuple[str, str], Connection] = PrivateAttr(default_factory=dict)
    """The sessions that keep a source for a run of this process."""

    @contextmanager
    def yield_for_execution(self, context: InitResourceContext) -> Iterator[Self]:
        """Within a run, hold a lock that says its worker lives: PostgreSQL releases it when the worker dies."""
        self.setup_for_execution(context)
        if context.run is None:
            yield self
            return
        with ExitStack() as held:
            # Where it cannot be reached, what the step asks of it says why; and stac_setup makes the login.
            with suppress(GeoAssetsError):
                held.enter_context(self.working_on(context.run.run_id))
            held.callback(self.end_turns, context.run.run_id)
            yield self

    @property
    def connections(self) -> Connections:
        """How to reach the database, as a value."""
        return Connections(self.database_url or catalogue_url(self.settings))

    @property
    def owner_connections(self) -> Connections:
        """How its owner reaches it, as a value."""
        return Connections(self.owner_database_url or self.database_url or owner_url(self.settings))

    @property
    def sources(self) -> SourceLedger:
        """What the ledger knows of whole sources."""
        return SourceLedger(self.connections)

    @property
    def blobs(self) -> BlobLedger:
        """What was seen of each blob, what was done and what failed."""
        return BlobLedger(self.connections)

    @property
    def listings(self) -> ListingLedger:
        """Listings, page by page."""
        return ListingLedger(self.connections)

    @property
    def scenes(self) -> SceneLedger:
        """Which blobs belong together."""
        return SceneLedger(self.connections)

    @property
    def events(self) -> EventLedger:
        """What queues brought."""
        return EventLedger(self.connections)

    @property
    def dead_letters(self) -> SetAsideRecords:
        """Why messages became dead letters."""
        return SetAsideRecords(self.connections)

    @property
    def deletions(self) -> DeletionLedger:
        """Items that go or wait to go."""
        return DeletionLedger(self.connections)

    @property
    def quarantine(self) -> Quarantine:
        """Blobs that cannot have an item."""
        return Quarantine(self.connections)

    @property
    def patches(self) -> ItemPatches:
        """What people state of single items."""
        return ItemPatches(self.connections)

    @property
    def cogs(self) -> CogLedger:
        """COGs and their files."""
        return CogLedger(self.connections)

    @property
    def tables(self) -> "VectorTables":
        """What vector files became."""
        from geo_assets.vectors.tables import VectorTables

        return VectorTables(self.connections)

    @property
    def catalogue(self) -> "PgStac":
        """PgSTAC: loading items and withdrawing them."""
        from geo_assets.catalogue.pgstac import PgStac

        return PgStac(self.connections)

    @property
    def collections(self) -> Collections:
        """PgSTAC as people ask of it."""
        return Collections(self.connections)

    @property
    def census(self) -> "Census":
        """Blobs and items compared both ways."""
        from geo_assets.catalogue.census import Census

        return Census(self.connections)

    @property
    def handover(self) -> "SourceHandover":
        """What sources left that are no longer declared."""
        from geo_assets.catalogue.handover import SourceHandover

        return SourceHandover(self.connections)

    @property
    def path_comparison(self) -> PathComparison:
        """Listing, Storage Queue and Service Bus side by side."""
        return PathComparison(self.connections)

    @property
    def history(self) -> LedgerHistory:
        """What time makes worthless."""
        return LedgerHistory(self.connections)

    @property
    def schemas(self) -> "CatalogueSchema":
        """Installing, granting and verifying, as the owner."""
        from geo_assets.ledger.schema import CatalogueSchema

        return CatalogueSchema(self.owner_connections)

    @property
    def backup(self) -> "CatalogueBackup":
        """The whole database as one file, as the owner."""
        from geo_assets.ledger.backup import CatalogueBackup

        return CatalogueBackup(self.owner_connections)

    def now(self) -> datetime:
        """The database's clock: the only one that scopes are measured with."""
        return self.connections.now()

    def open_clock(self) -> AbstractContextManager[Callable[[], datetime]]:
        """`now` on a connection of its own, which may be asked from another thread."""
        return self.connections.open_clock()

    @contextmanager
    def working_on(self, work_id: str) -> Iterator[None]:
        """Hold the lock of a run, or of a task of one, for as long as this process works on it."""
        with self.connections.connect() as connection:
            take(connection, Lock.WORK, work_id, shared=True)
            yield

    def has_worker(self, work_id: str) -> bool:
        """Whether a process that works on this run or task is connected to the database."""
        with self.connections.connect() as connection:
            return not try_to_take(connection, Lock.WORK, work_id)

    def take_turn(self, source: str, *, run_id: str) -> None:
        """Have the run work on ``source`` from now on, until this resource is done with, or this process ends.

        To be called at the start of each step. The session says as well that the run's worker lives. Raises SourceBusy
        where another run works on it.
        """
        turn = self._turns.get((run_id, source))
        if turn is not None:
            with suppress(psycopg.OperationalError):  # it may have been cut since, and another's turn have come
                turn.execute("SELECT 1")
                return
            turn.close()
        with database_errors():
            self._turns[run_id, source] = turn = self.connections.open()
            try:
                take_turn(turn, source, run_id=run_id)
                take(turn, Lock.WORK, run_id, shared=True)
            except BaseException:
                self._turns.pop((run_id, source)).close()
                raise

    def end_turns(self, run_id: str) -> None:
        """Let other runs have what this process keeps for the run."""
        for key in [key for key in self._turns if key[0] == run_id]:
            self._turns.pop(key).close()


class StepValueMissing(TransientError):
    """A step asks for a value that retention has removed, or that was never stored."""

    code = "step_value_missing"
    remedy = "Run the whole job again instead of from its failure: what is done in the ledger is not done twice."


class StepValues(ConfigurableIOManager):
    """Stores each output as JSON of its declared type, under (run, step, output, mapping key)."""

    database_url: str = Field(
        default="", description="PostgreSQL URL of the catalogue; empty: as for the resource database."
    )
    _database: Database | None = PrivateAttr(default=None)

    def setup_for_execution(self, context: InitResourceContext) -> None:  # noqa: ARG002
        """Have the settings read again by this run, and no more often."""
        self._database = None

    @property
    def database(self) -> Database:
        """The database that the values are kept in."""
        if self._database is None:
            self._database = Database(database_url=self.database_url)
        return self._database

    def handle_output(self, context: OutputContext, obj: Any) -> None:
        """Store a value; the step that made it may be run again and replace it."""
        key = _key(context)
        value = _adapter(_declared_type(context)).dump_python(obj, mode="json")
        with self.database.connections.borrow() as connection:
            connection.execute(read_sql("store_step_value"), {**key, "value": Jsonb(value)})

    def load_input(self, context: InputContext) -> Any:
        """The value of the upstream output, as its declared type."""
        upstream = context.upstream_output
        if upstream is None:
            raise InvalidConfiguration(f"Input {context.name!r} has no upstream output.")
        key = _key(upstream)
        rows = self.database.connections.rows("select_step_value", **key)
        if not rows:
            raise StepValueMissing(
                f"Output {key['output']!r} of step {key['step_key']} of run {key['run_id']} is gone."
            )
        # As JSON text: a strict type takes a date from a string there only.
        return _adapter(_declared_type(upstream)).validate_json(json.dumps(rows[0]["value"]))


def _key(output: OutputContext) -> dict[str, str]:
    if output.has_asset_key:
        raise InvalidConfiguration(
            f"Asset {output.asset_key.to_user_string()} returns a value.",
            remedy="Return a MaterializeResult or None: what an asset makes lies in the catalogue or in a container.",
        )
    # After a re-execution from failure, the run that made the value, not the one that reads it.
    run_id, step_key, name, *mapping_key = output.get_identifier()
    return {"run_id": run_id, "step_key": step_key, "output": name, "mapping_key": "".join(mapping_key)}


def _declared_type(output: OutputContext) -> Any:
    declared = output.dagster_type.typing_type
    if declared is Any:
        raise InvalidConfiguration(
            f"Output {output.name!r} of {output.step_key} has no declared type.",
            remedy="Annotate what the op returns: values travel as JSON of their type.",
        )
    return declared


@cache
def _adapter(declared: Any) -> TypeAdapter[Any]:
    return TypeAdapter(declared)
