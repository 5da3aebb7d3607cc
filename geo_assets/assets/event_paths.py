"""event_paths: how listing, Storage Queue and Service Bus compare, as a table and a picture."""

from datetime import UTC, datetime, timedelta

from dagster import AssetExecutionContext, Config, MaterializeResult, asset
from pydantic import Field

from geo_assets.assets.failing import clear_failures
from geo_assets.assets.labels import CATALOGUE, OWNERS
from geo_assets.assets.reports import paths_metadata
from geo_assets.display import one_line
from geo_assets.resources.database import Database


class Period(Config):
    """Which time is compared."""

    hours: float = Field(default=24, gt=0, description="Count what arrived in the last N hours.")


@asset(
    description="Compares the channels (listing, Storage Queue, Service Bus): what each brought, and how fast.",
    group_name=CATALOGUE,
    kinds={"postgres"},
    owners=OWNERS,
)
def event_paths(context: AssetExecutionContext, config: Period, database: Database) -> MaterializeResult[None]:
    """Ask the ledger; nothing is changed."""
    with clear_failures():
        paths = database.path_comparison.compare(since=datetime.now(UTC) - timedelta(hours=config.hours))
    for path in paths:
        context.log.info(
            one_line(", ".join(f"{name} {value}" for name, value in path.as_dict().items() if value is not None))
        )
    return MaterializeResult(metadata=paths_metadata(paths, hours=config.hours))
