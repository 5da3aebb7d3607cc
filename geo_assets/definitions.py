"""Everything Dagster loads, put together without side effects and with an empty environment."""

import gc

gc.disable()  # looking for garbage in what is imported, and stays, takes a third of the time

from collections.abc import Mapping
from typing import Any

from dagster import Definitions, ExecutorDefinition, in_process_executor

from geo_assets.assets.catalogue import catalog_snapshot, event_paths, pgstac_schema
from geo_assets.assets.census import census_checks, header_agreement, table_agreement, table_census_checks
from geo_assets.assets.cogs import cogs, cogs_are_there
from geo_assets.assets.container_listing import container_listing
from geo_assets.assets.jobs import all_jobs, snapshot_schedule
from geo_assets.assets.ledger_stages import stac_collections
from geo_assets.assets.raster_metadata import raster_metadata
from geo_assets.assets.retention import retention, retention_schedule
from geo_assets.assets.stac_items import stac_items
from geo_assets.assets.vector_tables import vector_tables
from geo_assets.resources.database import Database, StepValues
from geo_assets.resources.queues import MessageQueues
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.resources.stores import BlobStores, SilverStore
from geo_assets.sensors.alerts import failure_alert_sensor
from geo_assets.sensors.blob import blob_sensor
from geo_assets.sensors.queues import service_bus_sensor, storage_queue_sensor
from geo_assets.sensors.runs import cog_sensor


def build_definitions(
    overrides: Mapping[str, Any] | None = None, *, executor: ExecutorDefinition = in_process_executor
) -> Definitions:
    """The definitions, with some resources replaced by ``overrides``.

    By default the steps of a run share one process: a step in a process of its own costs 3 s.
    `geo_assets.celery.definitions` spreads them over machines.
    """
    resources: dict[str, Any] = {
        "sources_file": SourcesFile(),
        "blob_stores": BlobStores(),
        "message_queues": MessageQueues(),
        "database": Database(),
        "silver_store": SilverStore(),
        "io_manager": StepValues(),
    }
    return Definitions(
        assets=[
            container_listing,
            raster_metadata,
            stac_collections,
            cogs,
            stac_items,
            catalog_snapshot,
            event_paths,
            pgstac_schema,
            vector_tables,
        ],
        asset_checks=[census_checks, header_agreement, table_census_checks, table_agreement, cogs_are_there],
        jobs=[*all_jobs, retention],
        schedules=[retention_schedule, snapshot_schedule],
        sensors=[blob_sensor, storage_queue_sensor, service_bus_sensor, cog_sensor, failure_alert_sensor],
        resources={**resources, **(overrides or {})},
        executor=executor,
    )


defs = build_definitions()

gc.freeze()
gc.enable()
