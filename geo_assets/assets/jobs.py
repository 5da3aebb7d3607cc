"""The jobs users launch from the UI, a sensor, a schedule, or `dagster job execute`.

Here: which assets and checks each job has, and the schedule of snapshots, off until you turn it on. Not here: the job
`retention` and its schedule (`retention`), and when sensors launch (`geo_assets.sensors`).
"""

from collections.abc import Iterator

from dagster import (
    AssetCheckKey,
    AssetKey,
    AssetSelection,
    Config,
    DefaultScheduleStatus,
    DynamicOut,
    DynamicOutput,
    JobDefinition,
    OpExecutionContext,
    RetryPolicy,
    RetryRequested,
    RunRequest,
    ScheduleEvaluationContext,
    define_asset_job,
    job,
    op,
    schedule,
)
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from pydantic import Field

from geo_assets.assets.census import AGREEMENT, REPAIR_TAG
from geo_assets.assets.ops import register_partitions
from geo_assets.assets.reports import MAPS_TAG
from geo_assets.assets.retention import OWN_TAG
from geo_assets.display import one_line
from geo_assets.resources.sources_file import SourcesFile

# After a crashed worker every step runs again: the ledger makes that cheap, and a re-execution of the
# failed steps alone would collect only those and call the rest done (dagster#20925, dagster#30077).
TAGS = {"dagster/retry_strategy": "ALL_STEPS", **OWN_TAG}

# What works from the ledger alone, whoever wrote a blob's row there.
OBSERVED = AssetSelection.assets("raster_metadata", "stac_collections", "stac_items")
INGESTED = AssetSelection.assets("container_listing") | OBSERVED
TABLES = AssetSelection.assets("container_listing", "stac_collections", "vector_tables")
# Reading blobs again takes as long as reading them did; the other checks ask the database only.
HEADER_AGREEMENT = AssetSelection.checks(
    *(AssetCheckKey(AssetKey(asset), AGREEMENT) for asset in ("stac_items", "vector_tables"))
)

ingest_rasters = define_asset_job(
    "ingest_rasters",
    selection=INGESTED - HEADER_AGREEMENT,
    description="List a source, read its rasters' headers, and load their STAC items: the main job.",
    tags=TAGS,
)

ingest_observed = define_asset_job(
    "ingest_observed",
    selection=OBSERVED - HEADER_AGREEMENT,
    description="Process the blobs that are pending in the ledger, without a listing. Launched by queue sensors.",
    tags={**TAGS, MAPS_TAG: "false"},
)

load_vectors = define_asset_job(
    "load_vectors",
    selection=TABLES - HEADER_AGREEMENT,
    description="List a source of vectors, load its files into tables, and load their STAC items.",
    tags=TAGS,
)

# Two runs of a source never overlap (`ledger.sources`), and a sensor asks for none while one of these is under way.
INGEST_JOBS = (ingest_rasters.name, ingest_observed.name, load_vectors.name)

reconcile = define_asset_job(
    "reconcile",
    selection=INGESTED | TABLES,
    description="List a source, check blobs against items and tables, reprocess what differs, and check again.",
    tags={**TAGS, REPAIR_TAG: "true"},
)

make_cogs = define_asset_job(
    "make_cogs",
    selection=AssetSelection.assets("cogs", "stac_items") - HEADER_AGREEMENT,
    description="Make, check and publish the COGs that a source's settings ask for, and link them in the items.",
    tags={**TAGS, MAPS_TAG: "false"},
)

list_container = define_asset_job(
    "list_container",
    selection=AssetSelection.assets("container_listing"),
    description="List a source into the ledger and stop.",
    tags=TAGS,
)

snapshot = define_asset_job(
    "snapshot",
    selection=AssetSelection.assets("catalog_snapshot"),
    description="Write a source's collection as stac-geoparquet to the output location.",
    tags=TAGS,
)

compare_paths = define_asset_job(
    "compare_paths",
    selection=AssetSelection.assets("event_paths"),
    description="Compare what listings, Storage Queues and Service Bus brought, and how soon it was searchable.",
    tags=TAGS,
)

stac_setup = define_asset_job(
    "stac_setup",
    selection=AssetSelection.assets("pgstac_schema"),
    description="Install, grant and verify the database schemas.",
    tags=TAGS,
)


class Greetings(Config):
    """How many greetings hello_world sends."""

    n: int = Field(default=3, ge=1, le=10_000, description="Number of greetings, and so of replies.")


@op(out=DynamicOut(str))
def plan_greetings(config: Greetings) -> Iterator[DynamicOutput[str]]:
    """One dynamic output a greeting."""
    for number in range(1, config.n + 1):
        yield DynamicOutput(f"guest {number}", mapping_key=f"guest_{number:05d}")


@op(retry_policy=RetryPolicy(max_retries=2))
def greet(context: OpExecutionContext, guest: str) -> str:
    """Greet one guest; the first guest only hears the second try, which shows that retries work."""
    if guest == "guest 1" and context.retry_number == 0:
        raise RetryRequested(max_retries=2, seconds_to_wait=0.1)
    return f"Hello, {guest}!"


@op
def reply(context: OpExecutionContext, greeting: str) -> str:
    """Answer one greeting."""
    context.log.debug(one_line(greeting))
    return f"{greeting} Hello to you."


@op
def count_replies(context: OpExecutionContext, replies: list[str]) -> int:
    """Check that every reply came back through the storage, each once."""
    if len(set(replies)) != len(replies):
        raise ValueError(f"{len(replies)} replies, only {len(set(replies))} of them different")
    context.log.info(one_line(f"{len(replies)} greetings were answered"))
    context.add_output_metadata({"replies": len(replies)})
    return len(replies)


@job(description="n greetings, then n replies: the smoke test of fan-out, retries and storage.", tags=TAGS)
def hello_world() -> None:
    """plan -> greet each -> reply to each -> count."""
    count_replies(plan_greetings().map(greet).map(reply).collect())


all_jobs: list[JobDefinition | UnresolvedAssetJobDefinition] = [
    ingest_rasters,
    ingest_observed,
    load_vectors,
    reconcile,
    make_cogs,
    list_container,
    snapshot,
    compare_paths,
    stac_setup,
    hello_world,
]


@schedule(
    job=snapshot,
    cron_schedule="41 4 * * *",
    default_status=DefaultScheduleStatus.STOPPED,
    description="Writes the snapshot of every source, every night at 4:41 UTC.",
)
def snapshot_schedule(context: ScheduleEvaluationContext, sources_file: SourcesFile) -> Iterator[RunRequest]:
    """One run a source."""
    names = list(sources_file.all())
    register_partitions(context.instance, names)
    for name in names:
        yield RunRequest(partition_key=name, run_key=f"{context.scheduled_execution_time.isoformat()} {name}")
