"""What the asset cogs shows in the Dagster UI: previews, a row a COG, what was refused and why.

Here: turning records into Dagster metadata. Not here: making or recording COGs.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from geo_assets.assets.reports import Metadata, picture, pictures, table
from geo_assets.ledger.cogs import CogCounts, StandingCog
from geo_assets.models import BlobRef, SilverFile
from geo_assets.sources.source import Source

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
