"""Loading items into PgSTAC: ours with lock, delsert and read-back, against pypgstac's bare insert of the same."""

import io
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from pypgstac.db import PgstacDB
from pypgstac.load import Loader, Methods

from benchmarks.corpus import blob_content, blob_name
from benchmarks.result import Result, ratio
from benchmarks.world import SOURCE, Context, Pipeline, interleaved, source_rule
from geo_assets.assets.stac_items import LOAD_SIZE
from geo_assets.catalogue.items import load_items
from geo_assets.models import BlobRef
from geo_assets.raster.header import read_raster_metadata
from geo_assets.resources.database import Database
from geo_assets.sources.source import Source
from geo_assets.stac.item import build_collection, build_item

NAMES = ("load_items_per_s",)

Built = tuple[BlobRef, dict[str, Any]]


def run(context: Context) -> list[Result]:
    """Items a second into an empty collection, ours in the portions of the main job, the peer's in one call."""
    count = context.size(10_000, quick=2_000)
    source = Source.model_validate({"name": SOURCE, **source_rule("az://corpus")})
    items = [_item(source, index) for index in range(count)]

    def rate(load: Callable[[Pipeline, Sequence[Built]], None]) -> float:
        with context.pipeline("az://corpus") as pipeline:
            Database(database_url=pipeline.databases.catalogue_url).catalogue.upsert_collection(
                build_collection(pipeline.source, None, None)
            )
            began = time.perf_counter()
            load(pipeline, items)
            return count / (time.perf_counter() - began)

    ours, peer = interleaved(context.size(3, quick=2), lambda: rate(_load_ours), lambda: rate(_load_bare))
    return [ratio(NAMES[0], ours=ours, peer=peer, unit="items/s")]


def _load_ours(pipeline: Pipeline, items: Sequence[Built]) -> None:
    pgstac = Database(database_url=pipeline.databases.catalogue_url).catalogue
    for start in range(0, len(items), LOAD_SIZE):
        with pgstac.connections.connect() as connection:
            load_items(connection, pipeline.source, items[start : start + LOAD_SIZE], load=pgstac.load)


def _load_bare(pipeline: Pipeline, items: Sequence[Built]) -> None:
    loader = Loader(PgstacDB(dsn=pipeline.databases.owner_url))
    # A copy of each, since pypgstac changes what it is given; ours makes one too.
    loader.load_items(iter([dict(item) for _, item in items]), Methods.insert)


def _item(source: Source, index: int) -> Built:
    content = blob_content(index)
    blob = BlobRef(blob_name(index), f"0x{index:015X}", len(content), datetime(2024, 1, 1, tzinfo=UTC))
    metadata = read_raster_metadata(io.BytesIO(content))
    return blob, build_item(source=source, blob=blob, metadata=metadata, href=f"https://example.org/{blob.name}")
