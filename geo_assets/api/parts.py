"""What the routes of /api work with, and the few threads they work in.

Here: the resources of one application. Not here: the routes.
"""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, TypeVar, cast

from fastapi import Request

from geo_assets.api.access import Access, Principal
from geo_assets.api.dagster_server import DagsterServer
from geo_assets.api.jobs import ApiJobs
from geo_assets.catalogue.collections import Collections
from geo_assets.ledger.blobs import Ledger, Poison, SourceStatus
from geo_assets.ledger.path_comparison import PathComparison
from geo_assets.postgres.databases import api_url
from geo_assets.postgres.logins import JOBS_LOGIN
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.settings import Settings
from geo_assets.sources.source import Source

_THREADS = 6
"""Each keeps a connection of its own, so that they are bounded too."""
T = TypeVar("T")


class Parts:
    """The resources of one application; each acts as the login of /api, which writes its jobs and no more."""

    def __init__(self, settings: Settings) -> None:
        """For the databases and servers that ``settings`` name. Raises what `api_url` raises."""
        url = api_url(settings, JOBS_LOGIN)
        self.settings = settings
        self.access = Access(settings)
        self.jobs = ApiJobs(database_url=url)
        self.ledger = Ledger(database_url=url)
        self.collections = Collections(database_url=url)
        self.path_comparison = PathComparison(database_url=url)
        self.sources_file = SourcesFile(path=str(settings.sources_file))
        self.dagster = DagsterServer.of(settings)
        self._sources: tuple[tuple[int, int], dict[str, Source]] | None = None
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="api")

    async def work(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call what waits for a database or a server, in a thread."""
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: context.run(function, *arguments))

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def sources(self) -> dict[str, Source]:
        """The declared sources, read again when their file has changed. Raises InvalidConfiguration."""
        try:
            found = self.settings.sources_file.stat()
        except OSError:
            return self.sources_file.all()  # which says what is wrong
        version = (found.st_mtime_ns, found.st_size)
        if self._sources is None or self._sources[0] != version:
            self._sources = (version, self.sources_file.all())
        return self._sources[1]

    def statuses(self) -> list[SourceStatus]:
        """How each declared source stands."""
        return [self.ledger.status(name) for name in self.sources()]

    def listed_at(self) -> dict[str, datetime | None]:
        """When each declared source was last listed whole; None where it never was."""
        return {name: self.ledger.listed_at(source) for name, source in self.sources().items()}

    def poison(self) -> list[Poison]:
        """The messages of queues that were given up and await a person."""
        return self.ledger.poison()

    @property
    def dagster_address(self) -> str:
        """Where people reach Dagster's web UI."""
        return (self.settings.dagster_url or self.settings.dagster_server).rstrip("/")


def parts_of(request: Request) -> Parts:
    """The parts of the application that serves the request."""
    return cast(Parts, request.app.state.parts)


def principal_of(request: Request) -> Principal:
    """Who asks."""
    return cast(Principal, request.scope["state"]["principal"])
