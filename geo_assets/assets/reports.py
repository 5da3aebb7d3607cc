"""What a materialization shows in the Dagster UI: counts, bytes, rate, failures, pictures, and a row a COG.

Here: turning figures and records into Dagster metadata. Not here: getting or drawing them.
"""

import base64
import io
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module
from types import ModuleType
from typing import Any, Self

from dagster import MetadataValue, TableColumn, TableRecord, TableSchema
from PIL import Image

from geo_assets.assets.stage import BatchReport, Scope
from geo_assets.ledger.blobs import SourceStatus, StandingFailure
from geo_assets.ledger.cogs import CogCounts, StandingCog
from geo_assets.ledger.history import COUNTS, SHARES, PathFigures
from geo_assets.ledger.listings import ListingDiff
from geo_assets.ledger.scenes import WaitingScene
from geo_assets.models import BlobRef, Footprint, SilverFile
from geo_assets.resources.database import Database
from geo_assets.sources.source import Source
from geo_assets.storage.listing import SIDECARS

# More would make the event-log row large; the ledger holds them all (`geo-assets status SOURCE`).
MOST_FAILURES_SHOWN = 100
MOST_FOOTPRINTS_DRAWN = 500
MAPS_TAG = "geo_assets/maps"
"""A tag of a run: "false" where nothing is drawn, which takes longer than all else that a run over one blob does."""

Metadata = dict[str, Any]


class Stopwatch:
    """Seconds spent inside the with block."""

    seconds: float = 0.0

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._started


def listing_metadata(
    diff: ListingDiff,
    *,
    status: SourceStatus,
    extensions: Sequence[tuple[str, int, int]],
    sizes: Sequence[tuple[int, int]],
    ignored: Counter[str],
    seconds: float,
    tags: Mapping[str, str],
) -> Metadata:
    """The container summary of one listing; without its picture where the ``tags`` of the run say so."""
    metadata: Metadata = {
        "blobs": status.blobs,
        "bytes": status.size_bytes,
        "new": diff.new,
        "changed": diff.changed,
        "deleted": diff.deleted,
        "unchanged": diff.unchanged,
        "renamed": diff.renamed,
        "repaired_by_listing": diff.repaired,
        "complete": diff.complete,
        "seconds": round(seconds, 3),
        "blobs_per_second": round((diff.blobs - diff.resumed_after) / seconds, 1) if seconds else 0.0,
        "listed_by_earlier_runs": diff.resumed_after,
        "ignored_blobs": ignored.total() - ignored[SIDECARS],
        "sidecars": ignored[SIDECARS],
        "by_extension": table(
            {"extension": "string", "blobs": "int", "bytes": "int"},
            [{"extension": name, "blobs": blobs, "bytes": size} for name, blobs, size in extensions],
        ),
    }
    if ignored.total() > ignored[SIDECARS]:
        metadata["ignored_by_extension"] = table(
            {"extension": "string", "blobs": "int"},
            [{"extension": name, "blobs": blobs} for name, blobs in ignored.most_common(30) if name != SIDECARS],
        )
    if sizes and tags.get(MAPS_TAG) != "false":
        metadata["size_histogram"] = picture(
            pictures().draw_size_histogram(sizes, title=f"Blobs of {status.source} by size")
        )
    return metadata


def raster_report(scope: Scope, done: BatchReport, *, tags: Mapping[str, str], database: Database) -> Metadata:
    """What describing the rasters of a scope came to, with the map of where the source's rasters lie.

    A run over nothing new draws no map, for the last run's still holds; nor does one whose ``tags`` say so.
    """
    drawn = scope.blobs and tags.get(MAPS_TAG) != "false"
    rasters = database.blobs.described(scope.source, most=MOST_FOOTPRINTS_DRAWN) if drawn else []
    geometries = [raster.footprint.geometry for raster in rasters if isinstance(raster.footprint, Footprint)]
    return {
        **_footprints_metadata(geometries, of=f"rasters of {scope.source}"),
        **_failures_metadata(database.blobs.failures(scope.source, most=MOST_FAILURES_SHOWN)),
        "described": done.done,
        **_stage_metadata(scope, done, database=database),
        "bytes_read": done.bytes_read,
    }


def items_report(
    scope: Scope,
    done: BatchReport,
    *,
    source: Source,
    tags: Mapping[str, str],
    database: Database,
) -> Metadata:
    """What cataloguing a scope came to, with the map of the source's items where they are no longer the same.

    A run whose ``tags`` say so draws none.
    """
    drawn = (scope.blobs or scope.withdrawn) and tags.get(MAPS_TAG) != "false"
    items = database.catalogue.items_of(source.name, most=MOST_FOOTPRINTS_DRAWN) if drawn else []
    return {
        **_footprints_metadata([item["geometry"] for item in items], of=f"items of {source.name}"),
        **_failures_metadata(database.blobs.failures(scope.source, most=MOST_FAILURES_SHOWN)),
        **_waiting_metadata(database.scenes.waiting(scope.source, most=MOST_FAILURES_SHOWN)),
        **_stage_metadata(scope, done, database=database),
        "collection": source.collection.id,
    }


def stage_report(scope: Scope, done: BatchReport, *, database: Database) -> Metadata:
    """What a stage over a scope came to, without a map."""
    failures = _failures_metadata(database.blobs.failures(scope.source, most=MOST_FAILURES_SHOWN))
    return {
        **failures,
        "done": done.done,
        **_stage_metadata(scope, done, database=database),
        "bytes_read": done.bytes_read,
    }


def snapshot_metadata(
    source: Source,
    *,
    items: int,
    size_bytes: int,
    href: str,
    rows: Sequence[Mapping[str, Any]],
    geometries: Sequence[dict[str, Any]],
    seconds: float,
) -> Metadata:
    """What a snapshot holds and its location, with its first rows and the map of the source's items."""
    preview = [{name: value if value is None else str(value) for name, value in row.items()} for row in rows]
    return {
        **_footprints_metadata(geometries, of=f"items of {source.name}"),
        **({"preview": table(dict.fromkeys(preview[0], "string"), preview)} if preview else {}),
        "items": items,
        "bytes": size_bytes,
        "href": MetadataValue.url(href),
        "collection": source.collection.id,
        "seconds": round(seconds, 3),
        "items_per_second": round(items / seconds, 1) if seconds else 0.0,
    }


def _stage_metadata(scope: Scope, done: BatchReport, *, database: Database) -> Metadata:
    """Figures of this run, then the state of the whole source after it."""
    seconds = max(time.time() - scope.started_at, 1e-3)
    status = database.blobs.status(scope.source)
    return {
        "failed": done.failed,
        "blobs_in_run": scope.blobs,
        "bytes_in_run": scope.size_bytes,
        "batches": scope.batches,
        "seconds": round(seconds, 3),
        "blobs_per_second": round((done.done + done.failed) / seconds, 1),
        "blobs_in_source": status.blobs,
        "catalogued_in_source": status.catalogued,
        "pending_in_source": status.pending,
        "longest_pending_seconds": _seconds_since(status.pending_since),
        "waiting_in_source": status.waiting,
        "quarantined_in_source": status.quarantined,
    }


def _seconds_since(moment: datetime | None) -> float:
    return round((datetime.now(UTC) - moment).total_seconds(), 1) if moment else 0.0


def _footprints_metadata(geometries: Sequence[dict[str, Any]], *, of: str) -> Metadata:
    if not geometries:
        return {}
    latest = "the latest " if len(geometries) == MOST_FOOTPRINTS_DRAWN else ""
    return {"footprints": picture(pictures().draw_footprints(geometries, title=f"{latest}{len(geometries):,} {of}"))}


def paths_metadata(paths: Sequence[PathFigures], *, hours: float) -> Metadata:
    """What the channels of events brought in the last ``hours``: one row each, and how soon blobs were searchable."""
    rows = [path.as_dict() for path in paths]
    kinds = {name: "int" if name in COUNTS else "float" for name in rows[0]}
    curves = {path.path: path.latencies for path in paths if path.latencies}
    metadata: Metadata = {"paths": table(kinds | {"path": "string"}, rows), "hours": hours}
    if not curves:
        return metadata
    drawn = pictures().draw_latencies(SHARES, curves, title=f"From event to item, {hours:g} hours")
    return {**metadata, "latency": picture(drawn)}


def _failures_metadata(failures: Sequence[StandingFailure]) -> Metadata:
    if not failures:
        return {}
    rows = [
        {
            "blob": failure.name,
            "code": failure.code,
            "reason": failure.message,
            "remedy": failure.remedy or "",
            "attempts": failure.attempts,
            "state": "quarantined" if failure.permanent else "to be tried again",
        }
        for failure in failures
    ]
    columns = dict.fromkeys(("blob", "code", "reason", "remedy"), "string") | {"attempts": "int", "state": "string"}
    return {"failures": table(columns, rows)}


def _waiting_metadata(scenes: Sequence[WaitingScene]) -> Metadata:
    """What scenes wait for, where any does."""
    if not scenes:
        return {}
    rows = [
        {"scene": waiting.scene, "blobs": waiting.blobs, "waiting for": ", ".join(waiting.waiting_for)}
        for waiting in scenes
    ]
    return {"waiting_scenes": table({"scene": "string", "blobs": "int", "waiting for": "string"}, rows)}


def table(columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> MetadataValue[Any]:
    """A table of ``rows`` with these columns and their kinds."""
    schema = TableSchema(columns=[TableColumn(name, kind) for name, kind in columns.items()])
    return MetadataValue.table([TableRecord(dict(row)) for row in rows], schema=schema)


def pictures() -> ModuleType:
    """The drawing module, imported when there is something to draw: matplotlib and cartopy take a second."""
    return import_module("geo_assets.assets.pictures")


def picture(png: bytes) -> MetadataValue[Any]:
    """A picture that Dagster shows where it is looked at."""
    return MetadataValue.md(f"![](data:image/png;base64,{base64.b64encode(png).decode()})")


PREVIEW_SIDE = 192


def small_picture(png: bytes) -> str:
    """The picture with at most `PREVIEW_SIDE` pixels a side, PNG as base64."""
    small = Image.open(io.BytesIO(png))
    small.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    out = io.BytesIO()
    small.save(out, format="png", optimize=True)
    return base64.b64encode(out.getvalue()).decode()


def cogs_report(
    source: Source,
    counts: CogCounts,
    standing: Sequence[StandingCog],
    previews: Sequence[tuple[str, str]],
    *,
    removed: int,
    files_removed: int,
    rasters: int,
    size_bytes: int,
    seconds: float,
) -> Metadata:
    """Previews of this run's COGs, then figures of the run and of the source, then a row a raster."""
    drawn = [(name, base64.b64decode(png)) for name, png in previews]
    sheet = {"previews": picture(pictures().draw_contact_sheet(drawn, title=f"COGs of {source.name}"))} if drawn else {}
    return {
        **sheet,
        "rasters_in_run": rasters,
        "bytes_in_run": size_bytes,
        "seconds": round(seconds, 3),
        "removed": removed,
        "files_removed": files_removed,
        "made_in_source": counts.made,
        "linked_in_source": counts.linked,
        "refused_in_source": counts.refused,
        "to_make_in_source": counts.to_make,
        "bytes_of_cogs": counts.size_bytes,
        "bytes_of_their_rasters": counts.original_bytes,
        **_refusals(standing),
        **_made(standing),
    }


def _made(standing: Sequence[StandingCog]) -> Metadata:
    rows = [_row(cog) for cog in standing if cog.href]
    columns = {"raster": "string", "kind": "string", "bytes": "int", "of original": "float", "seconds": "float"}
    return {"cogs": table(columns | {"pixels": "string", "remark": "string"}, rows)} if rows else {}


def _refusals(standing: Sequence[StandingCog]) -> Metadata:
    rows = [_refusal(cog) for cog in standing if cog.error_code]
    texts = dict.fromkeys(("raster", "code", "reason", "remedy"), "string")
    columns = texts | {"attempts": "int", "state": "string"}
    return {"no_cog": table(columns, rows)} if rows else {}


def published_metadata(
    standing: Sequence[StandingCog], found: Mapping[tuple[str, str], BlobRef]
) -> tuple[Metadata, int]:
    """A row a file with what it was found to be, and how many are not as they were published."""
    rows, wrong = [], 0
    for cog in standing:
        file = found.get((str(cog.place), str(cog.name_in_place)))
        size = file.size_bytes if file else None
        state = "there" if size == cog.size_bytes else "missing" if size is None else f"has {size:,} bytes"
        wrong += state != "there"
        rows.append({"raster": cog.name, "state": state, "pixels": (cog.facts or {})["pixels"], "cog": cog.href})
    columns = dict.fromkeys(("raster", "state", "pixels", "cog"), "string")
    return ({"files": table(columns, rows[:1000])} if rows else {}), wrong


def orphans_metadata(orphans: Sequence[SilverFile], unrecorded: Sequence[SilverFile]) -> Metadata:
    """How many files no COG has, and a row each."""
    states = {"no COG has it: the next run removes it": orphans, "the ledger does not know it": unrecorded}
    rows = [
        {"file": file.name_in_place, "place": file.place, "state": state}
        for state, files in states.items()
        for file in files
    ]
    columns = dict.fromkeys(("file", "place", "state"), "string")
    listed = {"files_without_a_cog": table(columns, rows[:1000])} if rows else {}
    return {"orphans": len(orphans), "unrecorded": len(unrecorded), **listed}


def _row(cog: StandingCog) -> dict[str, Any]:
    facts = cog.facts or {}
    share = cog.size_bytes / cog.original_bytes if cog.size_bytes and cog.original_bytes else 1.0
    return {
        "raster": cog.name,
        "kind": facts.get("kind") or "",
        "bytes": cog.size_bytes or cog.original_bytes or 0,
        "of original": round(share, 3),
        "seconds": round(cog.seconds or 0.0, 2),
        "pixels": "linked" if cog.is_linked else _pixels(facts["largest_error"]),
        "remark": facts.get("remark") or "",
    }


def _pixels(largest_error: float | None) -> str:
    if largest_error is None:
        return "resampled"
    return f"within {largest_error:g}" if largest_error else "equal"


def _refusal(cog: StandingCog) -> dict[str, Any]:
    return {
        "raster": cog.name,
        "code": cog.error_code,
        "reason": cog.error_message,
        "remedy": cog.error_remedy or "",
        "attempts": cog.attempts,
        "state": "refused" if cog.permanent else "to be tried again",
    }
