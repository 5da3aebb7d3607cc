"""The whole pipeline for tests: a source, a database of its own, and jobs run in this process.

Here: what integration and fault tests share. Not here: services (`tests.services`) and fixtures.
"""

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import psycopg
import yaml
from dagster import DagsterInstance, ExecuteInProcessResult
from psycopg import sql
from pydantic import SecretStr

from geo_assets.assets.reports import MAPS_TAG
from geo_assets.definitions import build_definitions
from geo_assets.ledger.blobs import SourceStatus, StandingFailure
from geo_assets.postgres.dagster_storage import give_dagster_tables
from geo_assets.postgres.databases import login_passwords
from geo_assets.postgres.embedded import SUPERUSER, EmbeddedPostgres
from geo_assets.postgres.logins import PIPELINE_LOGIN
from geo_assets.resources.database import Database, StepValues
from geo_assets.resources.queues import MessageQueues
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.resources.stores import BlobStores
from geo_assets.settings import Settings
from geo_assets.workers.pool import Work

T = TypeVar("T")
R = TypeVar("R")

SOURCE = "rasters"
TEMPLATE = "migrated_template"


@dataclass
class Pipeline:
    """geo_assets on one database and one sources.yaml, with a Dagster instance of its own."""

    database_url: str
    """For the pipeline's login, as runs and commands have it."""
    sources_path: Path
    instance: DagsterInstance
    overrides: dict[str, Any] = field(default_factory=dict)

    @property
    def owner_url(self) -> str:
        """The same database for its owner."""
        return as_user(self.database_url, SUPERUSER)

    @property
    def database(self) -> Database:
        """The database of this pipeline."""
        return Database(database_url=self.database_url, owner_database_url=self.owner_url)

    def resources(self) -> dict[str, Any]:
        """The resources of the definitions, on this pipeline's parts."""
        return {
            "sources_file": SourcesFile(path=str(self.sources_path)),
            "blob_stores": BlobStores(),
            "message_queues": MessageQueues(),
            "database": self.database,
            "io_manager": StepValues(database_url=self.database_url),
            **self.overrides,
        }

    def declare(self, url: str, *, name: str = SOURCE, **keys: Any) -> None:
        """Write (or rewrite) one source into sources.yaml; by default every blob has a fixed date."""
        document = yaml.safe_load(self.sources_path.read_text()) if self.sources_path.exists() else {"sources": {}}
        document["sources"][name] = {
            "url": url,
            "collection": {"id": name, "description": f"Test rasters of {name}"},
            "datetime": [{"fixed": "2020-01-01T00:00:00Z"}],
            **keys,
        }
        self.sources_path.write_text(yaml.safe_dump(document))

    def declare_queue(self, name: str, **keys: Any) -> None:
        """Write (or rewrite) one queue into sources.yaml, which has a source by now."""
        document = yaml.safe_load(self.sources_path.read_text())
        document.setdefault("queues", {})[name] = keys
        self.sources_path.write_text(yaml.safe_dump(document))

    def run(
        self,
        job: str = "ingest_rasters",
        *,
        source: str = SOURCE,
        run_key: str | None = None,
        maps: bool = False,
        **options: Any,
    ) -> ExecuteInProcessResult:
        """Run a job for one source in this process; as what a sensor asked for, where ``run_key`` says so.

        ``maps`` are drawn where a test wants them: they take longest.
        """
        tags = {"dagster/partition": source}
        tags |= {"dagster/run_key": run_key} if run_key else {}
        tags |= {} if maps else {MAPS_TAG: "false"}
        definitions = build_definitions(self.resources())
        return definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance, tags=tags, raise_on_error=False, **options
        )

    def status(self, source: str = SOURCE) -> SourceStatus:
        """The counts of one source."""
        return self.database.blobs.status(source)

    def failures(self, source: str = SOURCE) -> dict[str, StandingFailure]:
        """The reasons that stand, by blob name."""
        return {failure.name: failure for failure in self.database.blobs.failures(source)}

    def items(self, source: str = SOURCE) -> dict[str, dict[str, Any]]:
        """The items of one source by the blob they describe."""
        items = self.database.catalogue.items_of(source, most=100_000)
        return {item["properties"]["geo_assets:blob"]: item for item in items}

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows of a statement, for what no method shows."""
        with psycopg.connect(self.owner_url) as connection:
            return connection.execute(statement).fetchall()

    def execute(self, statement: str) -> None:
        """Change what no method changes: the passing of time, and damage."""
        with psycopg.connect(self.owner_url) as connection:
            connection.execute(statement)

    def check_promise(self, source: str = SOURCE) -> None:
        """Every live blob has exactly one item or one reason, and every item a live blob."""
        status = self.status(source)
        assert status.blobs == status.catalogued + status.quarantined, status
        items = self.items(source)
        assert len(items) == status.catalogued
        live = {name for (name,) in self.query("SELECT name FROM ledger.blob WHERE deleted_at IS NULL")}
        quarantined = {name for name, failure in self.failures(source).items() if failure.permanent}
        assert set(items).isdisjoint(quarantined)
        assert set(items) <= live
        duplicates = self.query("SELECT collection, id FROM pgstac.items GROUP BY 1, 2 HAVING count(*) > 1")
        assert duplicates == []


class InProcess:
    """Does in this process what a pool of workers does: without limits, and with no enclosure."""

    def map_renewed(
        self, work: Callable[[], Work[T, R]], tasks: Sequence[T], *, chunk_size: int, **_: object
    ) -> Iterator[R]:
        """As that of `WorkerPool`, where no task is lost."""
        for start in range(0, len(tasks), chunk_size):
            yield from work()(tasks[start : start + chunk_size], lambda _: None)


@contextmanager
def copied_database(cluster: EmbeddedPostgres, template: str) -> Iterator[str]:
    """The URL of a copy of the database ``template`` for its owner; the copy is dropped after the block."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
        copy = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        connection.execute(copy.format(sql.Identifier(name), sql.Identifier(template)))
        grant = sql.SQL("GRANT CREATE ON DATABASE {} TO {}")  # what is granted on a database, no copy of it has
        connection.execute(grant.format(sql.Identifier(name), sql.Identifier(PIPELINE_LOGIN)))
        yield cluster.url(name)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def open_pipeline(database_url: str, folder: Path) -> Iterator[Pipeline]:
    """A pipeline, by its login, on a migrated database, with an ephemeral Dagster instance."""
    with DagsterInstance.ephemeral() as instance:
        yield Pipeline(as_user(database_url, PIPELINE_LOGIN), folder / "sources.yaml", instance)


def migrate_as_owner(url: str) -> None:
    """Migrate a database as `geo-assets db migrate` does, with Dagster's tables to come beside the catalogue's."""
    pipeline_url = as_user(url, PIPELINE_LOGIN)
    schema = Database(database_url=url).schemas
    schema.install()
    schema.grant_roles(login_passwords(Settings(_env_file=None, database_url=SecretStr(pipeline_url))))
    give_dagster_tables(url)


def make_template(cluster: EmbeddedPostgres) -> str:
    """Make the migrated database that tests copy; its name."""
    cluster.ensure_databases(TEMPLATE)
    migrate_as_owner(cluster.url(TEMPLATE))
    return TEMPLATE


def as_user(url: str, user: str) -> str:
    """The URL for another user with the same password, as the owner and the pipeline have in tests."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{user}:{parts.netloc.partition(':')[2]}"))


def failure_text(result: ExecuteInProcessResult) -> str:
    """What the failed steps of a run say, joined."""
    return "\n".join(str(event.step_failure_data.error) for event in result.get_step_failure_events())
