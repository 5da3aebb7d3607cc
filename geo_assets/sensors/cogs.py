"""cog_sensor: launches a run of make_cogs if COGs are to be made or removed and no other run works on the source.

Here: asking the ledger and Dagster. Not here: which rasters await a COG (`geo_assets.ledger.cogs`).
"""

from datetime import UTC, datetime

from dagster import DefaultSensorStatus, RunRequest, SensorEvaluationContext, SensorResult, sensor
from pydantic import TypeAdapter, ValidationError

from geo_assets.assets.jobs import INGEST_JOBS, make_cogs
from geo_assets.models import Request
from geo_assets.resources.database import Database
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.sensors.change import Observation, change_digest, decide
from geo_assets.sensors.runs import sources_with_runs

_CURSOR = TypeAdapter(dict[str, Request])


@sensor(
    job=make_cogs,
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description="Launches one run of each source whose rasters await their COG, or which has files without a raster.",
)
def cog_sensor(
    context: SensorEvaluationContext,
    sources_file: SourcesFile,
    database: Database,
) -> SensorResult:
    """Ask once for the same work, and again after a pause where a run left it."""
    requests = _read_cursor(context.cursor)
    run_requests, reasons = [], []
    busy = sources_with_runs(context, database=database, jobs=[*INGEST_JOBS, make_cogs.name])
    troubles = database.sources.troubles()
    for name, source in sources_file.all().items():
        waiting = database.cogs.to_make(source, most=source.cogs.max_per_run) if source.cogs else []
        removable = [cog.name for cog in database.cogs.to_remove(source)]
        removable += [f"{file.place} {file.name_in_place}" for file in database.cogs.orphans(name)]
        if not waiting and not removable:
            requests.pop(name, None)
            continue
        names = [f"{raster.name} {raster.etag}" for raster in waiting] + removable
        observed = Observation(
            new=0,
            changed=0,
            deleted=0,
            pending=len(waiting),
            to_withdraw=len(removable),
            digest=change_digest(source.cogs.digest if source.cogs else "", *names),
            generation=0,
        )
        decision = decide(
            name,
            observed=observed,
            last=requests.get(name),
            run_in_progress=name in busy,
            trouble=troubles.get(name),
            now=datetime.now(UTC),
        )
        reasons.append(decision.reason)
        if decision.request is not None:
            requests[name] = decision.request
            # Of the same work at another time there may be a run already, so the moment is in the key.
            key = f"cogs {decision.run_key} {decision.request.at.isoformat()}"
            run_requests.append(RunRequest(run_key=key, partition_key=name))
    return SensorResult(
        run_requests=run_requests,
        skip_reason=None if run_requests else "; ".join(reasons) or "no COGs to make or to remove",
        cursor=_CURSOR.dump_json(requests).decode(),
    )


def _read_cursor(cursor: str | None) -> dict[str, Request]:
    """What earlier ticks asked for; nothing where another release wrote it."""
    try:
        return _CURSOR.validate_json(cursor or "{}")
    except ValidationError:
        return {}
