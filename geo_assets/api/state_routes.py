"""/api/health, /api/db/stats, /api/sources, /api/metrics/comparison, /api/schema/redeploy, and what orchestrators ask.

Here: the routes, and whether what the API needs answers: each dependency with its latency and a remedy. Not here: the
figures, which the ledger and Dagster tell.
"""

import asyncio
import shutil
import time
from collections.abc import Awaitable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from geo_assets.api.parts import Parts, parts_of
from geo_assets.api.problems import Conflict, Forbidden, InvalidRequest, in_our_words
from geo_assets.errors import GeoAssetsError, InvalidConfiguration, ScratchFull
from geo_assets.ledger.database import Connections
from geo_assets.ledger.schema import CatalogueSchema, check_schema
from geo_assets.postgres.databases import login_passwords, owner_url
from geo_assets.resources.queues import MessageQueues
from geo_assets.resources.stores import SilverStore
from geo_assets.settings import Settings
from geo_assets.sources.rules import QueueRule
from geo_assets.sources.source import Source
from geo_assets.storage.blob_store import SHORT_PATIENCE
from geo_assets.storage.blob_stores import open_store
from geo_assets.storage.scratch import open_scratch, takes_no_more

LOOK_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Component:
    """What one look at a dependency showed. ``is_needed``: without it the API serves nothing."""

    name: str
    status: Literal["healthy", "degraded", "unhealthy"]
    milliseconds: float
    is_needed: bool
    detail: Mapping[str, Any]
    error: str | None = None
    remedy: str | None = None


async def look_at_all(parts: Parts) -> list[Component]:
    """A look at each dependency, all at once."""
    settings = parts.current_settings.now()
    silver = settings.silver or (settings.state_folder / "silver").as_uri()
    looks = [
        _look("database", parts.work(database_versions, parts), is_needed=True),
        _look("dagster", parts.work(parts.dagster.health)),
        _look("settings", parts.work(_check_settings, parts)),
        _look("output location", parts.look("output location", partial(_probe_silver, silver))),
        _look("scratch", parts.look("scratch", partial(_probe_scratch, settings))),
    ]
    try:
        sources, queues = parts.sources(), parts.sources_file.queues()
    except GeoAssetsError as error:
        looks.append(_look("sources.yaml", parts.work(_raise, error)))
    else:
        for name, source in sources.items():
            looks.append(_look(f"source {name}", parts.look(f"source {name}", partial(_probe, source, settings))))
        for name, queue in queues.items():
            looks.append(_look(f"queue {name}", parts.look(f"queue {name}", partial(_probe_queue, queue))))
    return list(await asyncio.gather(*looks))


def database_versions(parts: Parts) -> dict[str, Any]:
    """The versions of PgSTAC and of the ledger. Raises DatabaseUnavailable, also where anything of them is missing."""
    return dict(check_schema(parts.database.connections))


def as_document(looks: list[Component]) -> dict[str, Any]:
    """The looks as the answer of /api/health."""
    states = {look.status for look in looks}
    needed = {look.status for look in looks if look.is_needed}
    worst = "unhealthy" if "unhealthy" in needed else "degraded" if states - {"healthy"} else "healthy"
    return {"status": worst, "components": {look.name: _component(look) for look in looks}}


def _component(look: Component) -> dict[str, Any]:
    return {name: value for name, value in asdict(look).items() if name != "name" and value is not None}


async def _look(name: str, asked: Awaitable[Mapping[str, Any]], *, is_needed: bool = False) -> Component:
    began = time.perf_counter()
    try:
        detail = await asyncio.wait_for(asked, LOOK_SECONDS)
    except GeoAssetsError as error:
        ours = in_our_words(error)
        return Component(name, "unhealthy", _since(began), is_needed, {}, str(ours.message), ours.remedy or None)
    except ValidationError:
        # Not the words of pydantic: they have what was given in them.
        remedy = "See the component `settings`."
        return Component(name, "unhealthy", _since(began), is_needed, {}, "the settings are not valid.", remedy)
    except TimeoutError:
        remedy = f"Check that this server reaches it: {name}; it may be slow, or a firewall may drop its packets."
        return Component(
            name, "unhealthy", _since(began), is_needed, {}, f"no answer within {LOOK_SECONDS:.0f} s.", remedy
        )
    if waiting := detail.get("awaiting_restart"):
        said = f"changed in .env since this server started; restart it to use: {', '.join(waiting)}."
        return Component(
            name, "degraded", _since(began), is_needed, {}, said, "Restart `geo-assets serve` (or `make up`)."
        )
    unwell = [*detail.get("unwell", ()), *detail.get("not_loaded", ())]
    if unwell:
        remedy = "Start dagster-daemon; see its log, and that of the code location."
        return Component(name, "degraded", _since(began), is_needed, detail, f"not well: {', '.join(unwell)}.", remedy)
    return Component(name, "healthy", _since(began), is_needed, detail)


def _probe(source: Source, settings: Settings) -> Mapping[str, Any]:
    with open_store(source, settings, patience=SHORT_PATIENCE) as store:
        next(iter(store.list_level(source.prefix)), None)
    return {"url": source.url}


def _probe_queue(rule: QueueRule) -> Mapping[str, Any]:
    depth = MessageQueues().probe(rule)
    return {"queue": rule.queue, **({} if depth is None else {"messages_about": depth})}


def _probe_silver(place: str) -> Mapping[str, Any]:
    SilverStore(url=place).probe()
    return {"url": place}


def _probe_scratch(settings: Settings) -> Mapping[str, Any]:
    with open_scratch(settings) as folder:
        if takes_no_more(folder):
            raise ScratchFull(f"{settings.scratch_folder} has no room left.")
        free = shutil.disk_usage(folder).free
    return {"folder": str(settings.scratch_folder), "free_bytes": free}


def _check_settings(parts: Parts) -> Mapping[str, Any]:
    """Which settings await a restart. Raises InvalidConfiguration where `.env` is not valid now."""
    if problem := parts.current_settings.problem():
        raise InvalidConfiguration(
            f".env is not valid, so this server goes on with what it last read: {problem}.",
            remedy="Correct these variables in .env.",
        )
    return {"awaiting_restart": parts.current_settings.awaiting_restart()}


def _raise(error: GeoAssetsError) -> Mapping[str, Any]:
    raise error


def _since(began: float) -> float:
    return round(1000 * (time.perf_counter() - began), 1)


router = APIRouter()


class Redeploy(BaseModel):
    """What is to be said before the schemas are reinstalled."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"confirm": "geo_assets"}]})
    confirm: str = Field(description="The name of the database, as GET /api/db/stats has it.")


@router.get("/livez", tags=["State"], summary="Whether the process lives")
async def livez() -> dict[str, str]:
    """Say that the process answers, without asking any dependency."""
    return {"status": "alive"}


@router.get("/readyz", tags=["State"], summary="Whether it can serve")
async def readyz(request: Request) -> dict[str, str]:
    """Whether the database answers and is migrated."""
    parts = parts_of(request)
    await parts.work(database_versions, parts)
    return {"status": "ready"}


@router.get("/metrics", tags=["State"], summary="Metrics for Prometheus", response_class=Response)
async def metrics(request: Request) -> Response:
    """Requests, and the ledger's counts by source."""
    parts = parts_of(request)
    return Response(await parts.work(request.app.state.metrics.exposition), media_type=CONTENT_TYPE_LATEST)


@router.get("/api/health", tags=["State"], summary="Each dependency: whether it answers, how fast, and what to do")
async def health(request: Request, response: Response) -> dict[str, Any]:
    """Status 503 where the database does not answer; `degraded` where only something else does not."""
    document = as_document(await look_at_all(parts_of(request)))
    response.status_code = 503 if document["status"] == "unhealthy" else 200
    if response.status_code == 503:
        response.headers["Retry-After"] = "5"
    return document


@router.get("/api/db/stats", tags=["State"], summary="How much there is")
async def stats(request: Request) -> dict[str, Any]:
    """The database, each collection with its items, and each source with its blobs by state."""
    parts = parts_of(request)

    def work() -> dict[str, Any]:
        return {
            "database": parts.database.connections.row("select_database_stats"),
            "collections": [asdict(each) for each in parts.database.collections.all()],
            "sources": [asdict(each) for each in parts.statuses()],
        }

    return await parts.work(work)


@router.get("/api/sources", tags=["State"], summary="Each source: its counts, its failures, its page in Dagster")
async def sources(request: Request, most: Annotated[int, Query(ge=0, le=1000)] = 20) -> dict[str, Any]:
    """What the page for people shows; `former_sources` are no longer declared and left items or tables."""
    parts = parts_of(request)
    former = await parts.work(lambda: parts.database.handover.former_sources(parts.sources()))
    return {"sources": await parts.work(_sources, parts, most), "former_sources": [asdict(each) for each in former]}


@router.get("/api/metrics/comparison", tags=["State"], summary="Listing, Storage Queue and Service Bus side by side")
async def comparison(request: Request, hours: Annotated[float, Query(gt=0, le=24 * 366)] = 24) -> dict[str, Any]:
    """What each channel brought in the last ``hours``, and how soon it was searchable."""
    parts = parts_of(request)
    since = datetime.now(UTC) - timedelta(hours=hours)
    paths = await parts.work(lambda: parts.database.path_comparison.compare(since=since))
    return {"since": since, "paths": [path.as_dict() for path in paths]}


@router.post("/api/schema/redeploy", tags=["State"], summary="Reinstall the schemas of the database")
async def redeploy(request: Request, wanted: Redeploy) -> dict[str, Any]:
    """Bring PgSTAC, the ledger and the roles to this release's version, and verify them. Nothing is deleted.

    Needs the scope admin, GEO_ASSETS_API_REDEPLOY=true, the name of the database, and a URL of its owner.
    """
    parts = parts_of(request)
    if not parts.settings.api_redeploy:
        raise Forbidden(
            "This server does not redeploy.", remedy="Set `GEO_ASSETS_API_REDEPLOY=true` while you need it."
        )
    return await parts.work(_redeploy, parts, wanted.confirm)


def _redeploy(parts: Parts, confirm: str) -> dict[str, Any]:
    settings = parts.settings
    if settings.api_database_url is not None and settings.owner_database_url is None:
        raise _only_the_owner_migrates()
    schema = CatalogueSchema(Connections(owner_url(settings)))  # asked for here alone: no other request acts as it
    with schema.connections.connect() as connection:
        name = connection.info.dbname
    if confirm != name:
        raise InvalidRequest(
            "`confirm` is not the name of the database.", remedy="Read the name in `GET /api/db/stats`."
        )
    if not schema.may_install():
        raise _only_the_owner_migrates()
    versions = schema.install()
    roles = schema.grant_roles(login_passwords(settings))
    return {"versions": versions, "roles": roles, "verified": schema.verify()}


def _only_the_owner_migrates() -> Conflict:
    return Conflict(
        "The logins of this server may not migrate the database.",
        remedy="Run `geo-assets db migrate`, or set GEO_ASSETS_OWNER_DATABASE_URL for this server.",
    )


def _sources(parts: Parts, most: int) -> list[dict[str, Any]]:
    declared = parts.sources()
    return [
        {
            **asdict(parts.database.blobs.status(name)),
            "url": source.url,
            "collection": source.collection.id,
            "title": source.collection.title or source.collection.id,
            "makes": "tables" if source.tables else "items",
            "failures": [asdict(each) for each in parts.database.blobs.failures(name, most=most)],
            "dagster": f"{parts.dagster_address}/runs?q[]=tag:dagster%2Fpartition%3D{name}",
        }
        for name, source in declared.items()
    ]
