"""What the routes of /api work with: settings as they count now, resources, few threads, a second event loop.

Here: the resources of one application; the settings of a server that stays up while `.env` changes, as sensors and
runs read it each time they start: which count from the moment they are written, and which wait for a restart; an
application in two copies, one for each loop. Not here: the routes, which requests are heavy (`bounds`), and what each
setting means (`geo_assets.settings`).
"""

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from typing import Any, TypeVar, cast

from fastapi import Request
from pydantic import ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from geo_assets.api.access import Access, Principal
from geo_assets.api.bounds import replayed
from geo_assets.api.jobs import ApiJobs, DagsterServer
from geo_assets.api.problems import Busy
from geo_assets.ledger.blobs import SourceStatus
from geo_assets.ledger.events import StandingPoison
from geo_assets.postgres.databases import api_url
from geo_assets.postgres.logins import JOBS_LOGIN
from geo_assets.resources.database import Database
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.settings import Settings
from geo_assets.sources.source import Source

READ_AGAIN = (
    "azure_connection_string",
    "azure_account_url",
    "azure_account",
    "azure_key",
    "azure_sas_token",
    "azure_anonymous",
    "azure_queue_url",
    "service_bus_connection_string",
    "service_bus_namespace",
    "silver",
    "scratch",
)
"""Settings by which files and queues are reached: nothing is kept open with them."""
_AT_ONCE = 2
_WAIT_SECONDS = 30
_THREADS = 6
"""Each keeps a connection of its own, so that they are bounded too."""
_LOOKERS = 8
T = TypeVar("T")


class CurrentSettings:
    """The settings that a server started with, and what `.env` has changed of them since."""

    def __init__(self, started: Settings) -> None:
        self._started = started
        self._lock = threading.Lock()
        self._env_version = _env_version()
        self._problem: str | None = None
        try:
            self._first: Settings | None = Settings()
        except ValidationError as error:
            self._first, self._problem = None, _in_words(error)
        self._changed: dict[str, object] = {}

    def now(self) -> Settings:
        """The settings as they count now. What `.env` says that is not valid does not."""
        changed = {name: value for name, value in self._read().items() if name in READ_AGAIN}
        return self._started.model_copy(update=changed) if changed else self._started

    def awaiting_restart(self) -> list[str]:
        """The variables that have changed since the start and count after a restart only."""
        return sorted(_variable(name) for name in self._read() if name not in READ_AGAIN)

    def problem(self) -> str | None:
        """Why the present `.env` does not count, with the variables' names but not their values; None if it does."""
        self._read()
        return self._problem

    def _read(self) -> dict[str, object]:
        """What is changed, read again if the file is another."""
        with self._lock:
            version = _env_version()
            if version != self._env_version:
                self._env_version = version
                try:
                    found = Settings()
                except ValidationError as error:
                    self._problem = _in_words(error)
                else:
                    self._problem = None
                    self._first = self._first or found
                    self._changed = {name: value for name, value in found if getattr(self._first, name) != value}
            return self._changed


def _env_version() -> tuple[int, int] | None:
    """What tells one version of `.env` from the next; None where there is none."""
    try:
        found = Settings.env_file().stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _variable(name: str) -> str:
    return Settings.model_fields[name].alias or name


def _in_words(error: ValidationError) -> str:
    """The errors without what was given, which may be a secret."""
    return "; ".join(
        f"{'.'.join(map(str, each['loc']))}: {each['msg']}"
        for each in error.errors(include_url=False, include_input=False, include_context=False)
    )


class SecondLoop:
    """``light`` for most requests, and ``heavy``, its copy, for heavy ones, two at a time.

    Each copy has connections of its own, since a connection belongs to one loop.
    """

    def __init__(self, light: ASGIApp, heavy: ASGIApp) -> None:
        self._light = light
        self._heavy = heavy
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request in the loop that it belongs to."""
        if self._loop is None or scope["type"] != "http" or not scope.get("state", {}).get("heavy"):
            await self._light(scope, receive, send)
            return
        message = await receive()  # the whole body, as `bounds` took it in
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                await self._turns.acquire()
        except TimeoutError:
            raise Busy(f"{_AT_ONCE} large requests are being answered.") from None
        try:
            await self._pass_on(scope, message["body"], send)
        finally:
            self._turns.release()

    @asynccontextmanager
    async def running(self, connected: Callable[[], AbstractAsyncContextManager[None]]) -> AsyncIterator[None]:
        """Have the second loop run inside the block, with what ``connected`` opens and closes in it."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="second loop", daemon=True)
        thread.start()
        opened = connected()
        try:
            await _in(loop, opened.__aenter__())
            self._loop = loop
            try:
                yield
            finally:
                self._loop = None
                await _in(loop, opened.__aexit__(None, None, None))
        finally:
            loop.call_soon_threadsafe(loop.stop)
            await asyncio.to_thread(thread.join)
            loop.close()

    async def _pass_on(self, scope: Scope, body: bytes, send: Send) -> None:
        assert self._loop is not None
        first = asyncio.get_running_loop()

        async def send_back(message: Message) -> None:
            await _in(first, send(message))

        async def nothing_more() -> Message:
            await asyncio.Event().wait()
            raise AssertionError("this event is never set")

        await _in(self._loop, self._heavy(scope, replayed(body, nothing_more), send_back))


async def _in(loop: asyncio.AbstractEventLoop, work: Any) -> None:
    """Wait for ``work``, which runs in another loop."""
    await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))


class Parts:
    """The resources of one application; each acts as the login of /api, which writes its jobs and no more."""

    def __init__(self, settings: Settings) -> None:
        """For the databases and servers that ``settings`` name. Raises what `api_url` raises."""
        url = api_url(settings, JOBS_LOGIN)
        self.settings = settings
        self.current_settings = CurrentSettings(settings)
        self.access = Access(settings)
        self.database = Database(database_url=url)
        self.jobs = ApiJobs(self.database.connections)
        self.sources_file = SourcesFile(path=str(settings.sources_file))
        self.dagster = DagsterServer.of(settings)
        self._sources: tuple[tuple[int, int], dict[str, Source]] | None = None
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="api")
        self._lookers = ThreadPoolExecutor(_LOOKERS, thread_name_prefix="look")
        self._looks: dict[str, Future[Any]] = {}
        self._looks_lock = threading.Lock()

    async def work(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call what waits for a database or a server, in a thread."""
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: context.run(function, *arguments))

    async def look(self, name: str, ask: Callable[[], T]) -> T:
        """Call what checks a store or a queue, in threads of their own: one that hangs holds up no request.

        While it hangs, a second check of ``name`` waits for the same answer.
        """
        with self._looks_lock:
            under_way = self._looks.get(name)
            if under_way is None or under_way.done():
                under_way = self._looks[name] = self._lookers.submit(ask)
        # Shielded: who gives up waiting does not end it for the others.
        return cast(T, await asyncio.shield(asyncio.wrap_future(under_way)))

    def close(self) -> None:
        """End the threads."""
        for threads in (self._threads, self._lookers):
            threads.shutdown(wait=False, cancel_futures=True)

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
        """The state of each declared source."""
        return [self.database.blobs.status(name) for name in self.sources()]

    def listed_at(self) -> dict[str, datetime | None]:
        """When each declared source was last listed whole; None where it never was."""
        return {name: self.database.listings.listed_at(source) for name, source in self.sources().items()}

    def poison(self) -> list[StandingPoison]:
        """The dead letters of queues that wait for a person."""
        return self.database.events.poison()

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
