"""Whether what the API stands on answers: each dependency with its latency, and what to do where it does not.

Here: the looks. Not here: the routes that show them.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

from geo_assets.api.parts import Parts
from geo_assets.api.problems import in_our_words
from geo_assets.errors import GeoAssetsError
from geo_assets.ledger.schema_check import check_schema
from geo_assets.sources.source import Source
from geo_assets.storage.blob_stores import BlobStores

LOOK_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a dependency showed. ``is_needed``: without it the API serves nothing."""

    name: str
    status: Literal["healthy", "degraded", "unhealthy"]
    milliseconds: float
    is_needed: bool
    detail: Mapping[str, Any]
    error: str | None = None
    remedy: str | None = None


async def look_at_all(parts: Parts) -> list[Look]:
    """A look at each dependency, all at once."""
    looks = [
        _look(parts, "database", partial(database_versions, parts), is_needed=True),
        _look(parts, "dagster", parts.dagster.health),
    ]
    try:
        sources = parts.sources()
        looks += [_look(parts, f"source {name}", partial(_probe, source)) for name, source in sources.items()]
    except GeoAssetsError as error:
        looks.append(_look(parts, "sources.yaml", partial(_raise, error)))
    return list(await asyncio.gather(*looks))


def database_versions(parts: Parts) -> dict[str, Any]:
    """The versions of PgSTAC and of the ledger. Raises DatabaseUnavailable, also where anything of them is missing."""
    return dict(check_schema(parts.ledger))


def as_document(looks: list[Look]) -> dict[str, Any]:
    """The looks as the answer of /api/health."""
    states = {look.status for look in looks}
    needed = {look.status for look in looks if look.is_needed}
    worst = "unhealthy" if "unhealthy" in needed else "degraded" if states - {"healthy"} else "healthy"
    return {"status": worst, "components": {look.name: _component(look) for look in looks}}


def _component(look: Look) -> dict[str, Any]:
    return {name: value for name, value in asdict(look).items() if name != "name" and value is not None}


async def _look(parts: Parts, name: str, ask: Callable[[], Mapping[str, Any]], *, is_needed: bool = False) -> Look:
    began = time.perf_counter()
    try:
        detail = await asyncio.wait_for(parts.work(ask), LOOK_SECONDS)
    except GeoAssetsError as error:
        said = in_our_words(error)
        return Look(name, "unhealthy", _since(began), is_needed, {}, str(said.message), said.remedy or None)
    except TimeoutError:
        return Look(name, "unhealthy", _since(began), is_needed, {}, f"no answer within {LOOK_SECONDS:.0f} s.")
    unwell = [*detail.get("unwell", ()), *detail.get("not_loaded", ())]
    if unwell:
        remedy = "Start dagster-daemon; see its log, and that of the code location."
        return Look(name, "degraded", _since(began), is_needed, detail, f"not well: {', '.join(unwell)}.", remedy)
    return Look(name, "healthy", _since(began), is_needed, detail)


def _probe(source: Source) -> Mapping[str, Any]:
    BlobStores().probe(source)
    return {"url": source.url}


def _raise(error: GeoAssetsError) -> Mapping[str, Any]:
    raise error


def _since(began: float) -> float:
    return round(1000 * (time.perf_counter() - began), 1)
