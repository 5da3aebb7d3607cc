"""What every benchmark runs in: PostgreSQL, Azurite and the corpus, all of this session's own.

Here: starting and stopping them, and the runs of Dagster on them. Not here: what is measured.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from azure.storage.blob import BlobServiceClient
from dagster_azure.blob import AzureBlobStorageKeyCredential, AzureBlobStorageResource
from obstore.store import AzureStore

from benchmarks.corpus import NAME_DATETIME, upload_corpus
from benchmarks.databases import Databases, fresh_databases, make_templates
from benchmarks.processes import Measured, run_measured
from benchmarks.result import BenchmarkFailed
from geo_assets.postgres.embedded import EmbeddedPostgres
from geo_assets.resources.database import Database
from geo_assets.sources.source import Source, get_source
from tests.services import AZURITE_ACCOUNT, AZURITE_KEY, PROJECT, Azurite, own_environment, running_azurite

SOURCE = "corpus"

_T = TypeVar("_T")


@dataclass
class Context:
    """The services, the corpus, and what one benchmark has measured that another needs."""

    quick: bool
    folder: Path
    cluster: EmbeddedPostgres
    azurite: Azurite
    say: Callable[[str], None]
    _containers: dict[int, str] = field(default_factory=dict)
    _measured: dict[str, Any] = field(default_factory=dict)

    def size(self, full: int, *, quick: int) -> int:
        """How many of something this session works on."""
        return quick if self.quick else full

    def once(self, name: str, measure: Callable[[], _T]) -> _T:
        """What ``measure`` gives, taken only once a session."""
        if name not in self._measured:
            self._measured[name] = measure()
        result: _T = self._measured[name]
        return result

    def measured(self, name: str) -> Any:
        """What `once` took under this name, None where it took nothing."""
        return self._measured.get(name)

    def corpus(self, blobs: int) -> str:
        """The container that holds the first ``blobs`` rasters of the corpus; uploaded when first asked for."""
        if blobs not in self._containers:
            container, began = f"corpus-{blobs}", time.perf_counter()
            with BlobServiceClient.from_connection_string(self.azurite.connection_string) as service:
                service.create_container(container)
            size_bytes = upload_corpus(azure_store(self.azurite.account_url, container), blobs)
            seconds = time.perf_counter() - began
            self.say(f"uploaded {blobs:,} rasters, {size_bytes / 1e6:,.0f} MB, in {seconds:.0f} s")
            self._containers[blobs] = container
        return self._containers[blobs]

    @contextmanager
    def pipeline(self, url: str, **keys: Any) -> Iterator["Pipeline"]:
        """geo_assets on fresh databases, with one source at ``url``; ``keys`` are more keys of that source."""
        with (
            fresh_databases(self.cluster) as databases,
            tempfile.TemporaryDirectory(dir=self.folder, ignore_cleanup_errors=True) as name,
        ):
            folder = Path(name)
            (folder / "dagster.yaml").write_text((PROJECT / "dagster.yaml").read_text("utf-8"), "utf-8")
            (folder / "sources.yaml").write_text(yaml.safe_dump({"sources": {SOURCE: source_rule(url, **keys)}}))
            yield Pipeline(folder, databases, self.azurite.environment)


@dataclass(frozen=True)
class Pipeline:
    """One source and its databases, and the jobs that are run on them from the command line."""

    folder: Path
    databases: Databases
    store_variables: Mapping[str, str]

    @property
    def source(self) -> Source:
        """The source as geo_assets reads it."""
        return get_source(self.folder / "sources.yaml", SOURCE)

    @property
    def database(self) -> Database:
        """The ledger of this pipeline."""
        return Database(database_url=self.databases.catalogue_url)

    def environment(self, **variables: str) -> dict[str, str]:
        """The environment of a program that works on this pipeline."""
        return own_environment(
            **self.store_variables,
            DAGSTER_HOME=str(self.folder),
            DAGSTER_POSTGRES_URL=self.databases.dagster_url,
            GEO_ASSETS_DATABASE_URL=self.databases.catalogue_url,
            GEO_ASSETS_SOURCES=str(self.folder / "sources.yaml"),
            GEO_ASSETS_STATE=str(self.folder / "state"),
            PYTHONWARNINGS="ignore",
            **variables,
        )

    def run_python(self, *arguments: str, watch_memory: bool = False) -> Measured:
        """Run this Python with ``arguments``."""
        return run_measured(
            [sys.executable, *arguments],
            environment=self.environment(),
            log=self.folder / "process.log",
            watch_memory=watch_memory,
        )

    def run_job(
        self,
        job: str,
        *,
        module: str = "geo_assets.definitions",
        config: Mapping[str, Any] | None = None,
        watch_memory: bool = False,
    ) -> Measured:
        """`dagster job execute`, as a user types it, from start to exit; without ``config``, for the source."""
        arguments = ["-m", "dagster", "job", "execute", "-m", module, "-j", job]
        if config is None:
            arguments += ["--tags", json.dumps({"dagster/partition": SOURCE})]
        else:
            file = self.folder / f"{job}.yaml"
            file.write_text(yaml.safe_dump(config), "utf-8")
            arguments += ["--config", str(file)]
        return self.run_python(*arguments, watch_memory=watch_memory)

    def ingest(self, *, blobs: int, watch_memory: bool = False) -> Measured:
        """Run ingest_rasters and check that each of ``blobs`` has its item; else BenchmarkFailed."""
        measured = self.run_job("ingest_rasters", watch_memory=watch_memory)
        status = self.database.blobs.status(SOURCE)
        if (status.blobs, status.catalogued) != (blobs, blobs):
            raise BenchmarkFailed(f"{blobs} blobs were to be catalogued: {status}")
        return measured


@contextmanager
def open_context(*, quick: bool, say: Callable[[str], None]) -> Iterator[Context]:
    """Services of this session's own, stopped and removed after the block."""
    with tempfile.TemporaryDirectory(prefix="geo_assets-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        cluster = EmbeddedPostgres(folder / "state")
        try:
            cluster.start()
            make_templates(cluster)
            with running_azurite(folder) as azurite:
                yield Context(quick, folder, cluster, azurite, say)
        finally:
            cluster.destroy()


def source_rule(url: str, **keys: Any) -> dict[str, Any]:
    """The source of the benchmarks, as sources.yaml has it."""
    return {
        "url": url,
        "collection": {"id": SOURCE, "description": "Synthetic rasters for benchmarks"},
        "datetime": [NAME_DATETIME],
        **keys,
    }


def azure_resource(account_url: str) -> AzureBlobStorageResource:
    """dagster-azure's resource for Azurite's account at ``account_url``, which may be that of a proxy."""
    return AzureBlobStorageResource(account_url=account_url, credential=AzureBlobStorageKeyCredential(key=AZURITE_KEY))


def azure_store(account_url: str, container: str) -> AzureStore:
    """obstore on a container of Azurite."""
    return AzureStore(
        container,
        config={"account_name": AZURITE_ACCOUNT, "account_key": AZURITE_KEY, "endpoint": account_url},
        client_options={"allow_http": True},
    )


def interleaved(rounds: int, *measures: Callable[[], float]) -> list[float]:
    """The median of each measure, taken in turns so that a noisy moment meets all of them."""
    taken: list[list[float]] = [[] for _ in measures]
    for _ in range(rounds):
        for values, measure in zip(taken, measures, strict=True):
            values.append(measure())
    return [statistics.median(values) for values in taken]
