"""The one application: catalogue, tiles, features, jobs and the page, behind one gate.

Here: putting the parts together. Not here: what each serves.
"""

from collections.abc import AsyncIterator, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from geo_assets.api import job_routes, state_routes
from geo_assets.api.bounds import Bounded
from geo_assets.api.catalogue import create_stac, stac_connections
from geo_assets.api.features import create_features, features_connections
from geo_assets.api.gate import CORRELATION_HEADER, Gate
from geo_assets.api.pages import SecurityHeaders, serve_docs, serve_map
from geo_assets.api.parts import Parts, SecondLoop
from geo_assets.api.problems import install_handlers
from geo_assets.api.raster_readers import BlobPaths
from geo_assets.api.rasters import create_raster, raster_connections
from geo_assets.api.telemetry import Metrics, trace_requests
from geo_assets.settings import Settings

_ASKED_HEADERS = ("Authorization", "Content-Type", "If-None-Match", "Range", "X-API-Key", "X-Correlation-Id")
_DESCRIPTION = """
Submit jobs, see the result of each file, and check the state of everything.

The catalogue is at [/stac](/stac/api.html), tiles at [/raster](/raster/api.html), vector tables at
[/features](/features/api.html), and the map at [/](/). Errors are problem details (RFC 9457); every response has the
header `X-Correlation-Id`, and so has every line of the log.
"""


class AsRoot:
    """A part that is mounted below a path, and builds its links as a server of its own behind a proxy would."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hide from the part that there is an application around it: else its `url_for` finds the routes of that."""
        around = ("app_root_path", "router")
        own: MutableMapping[str, Any] = {name: value for name, value in scope.items() if name not in around}
        await self._app(own, receive, send)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application for these settings. Raises InvalidConfiguration, and DatabaseUnavailable for a missing cluster.

    The database need not answer yet: until it does, requests are answered with 503.
    """
    parts = Parts(settings or Settings())
    stac, heavy_stac, features = create_stac(parts.sources), create_stac(parts.sources), create_features()
    two_stacs = SecondLoop(AsRoot(stac), AsRoot(heavy_stac))
    raster = create_raster(BlobPaths(parts.current_settings.now, parts.sources))
    metrics = Metrics(parts)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(stac_connections(stac, parts.settings))
            await stack.enter_async_context(two_stacs.running(lambda: stac_connections(heavy_stac, parts.settings)))
            await stack.enter_async_context(raster_connections(raster, parts.settings))
            await stack.enter_async_context(features_connections(features, parts.settings))
            stack.callback(parts.close)
            for part in (stac, raster, features):
                await _build_routes(part)
            if end_traces is not None:
                stack.callback(end_traces)
            yield

    app = FastAPI(
        title="geo_assets",
        version=version("geo_assets"),
        description=_DESCRIPTION,
        docs_url="/api/docs",
        redoc_url=None,
        openapi_url="/api/openapi.json",
        lifespan=lifespan,
    )
    app.state.parts, app.state.metrics = parts, metrics
    app.include_router(job_routes.router)
    app.include_router(state_routes.router)
    serve_map(app)
    serve_docs(app)
    for part in (stac, heavy_stac, raster, features):
        serve_docs(part)
        install_handlers(part, own_forms=True)
    mounted: dict[str, ASGIApp] = {"/stac": two_stacs, "/raster": AsRoot(raster), "/features": AsRoot(features)}
    for path, served in mounted.items():
        app.router.routes.append(Mount(path, app=served))
    install_handlers(app)
    app.add_middleware(Bounded)
    end_traces = trace_requests(app, parts.settings.api_traces) if parts.settings.api_traces else None
    app.add_middleware(Gate, settings=parts.settings, access=parts.access, metrics=metrics)
    if not parts.access.is_open:
        # A token is sent on purpose, never by a browser of itself: so any page may ask with one. Around the gate: a
        # browser asks beforehand without a key, and shows a page no refusal that does not say that it may see it.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=["*"],
            allow_methods=["*"],
            allow_headers=[*_ASKED_HEADERS],
            expose_headers=[CORRELATION_HEADER, "Retry-After"],
        )
    app.add_middleware(SecurityHeaders)
    return app


async def _build_routes(part: FastAPI) -> None:
    """Have FastAPI build the routes of a part now: its first request would, for a second that all others wait."""
    address = {"scheme": "http", "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 0), "root_path": ""}
    request = {"type": "http", "method": "GET", "path": "/-", "headers": [], "query_string": b"", "state": {}}
    nowhere: Scope = {**address, **request}

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(_: Message) -> None:
        return

    await part(nowhere, receive, send)
