"""failure_alert_sensor: tells people of failed runs and ticks, poison, backlogs, failed censuses and held deletions.

Here: one poll, and the cursor that remembers what each destination was told. Not here: finding troubles (`findings`),
what is told and when (`geo_assets.alerts.alerts`), delivering (`geo_assets.alerts.destinations`).
"""

from datetime import UTC, datetime

from dagster import DefaultSensorStatus, SensorEvaluationContext, SensorResult, sensor
from pydantic import TypeAdapter, ValidationError

from geo_assets.alerts.alerts import Message, Told, plan_alerts
from geo_assets.alerts.destinations import deliver_all, open_destinations
from geo_assets.display import one_line
from geo_assets.resources.database import Database
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.sensors.findings import ALERT_SENSOR, find_troubles

_CURSOR = TypeAdapter(dict[str, dict[str, Told]])


@sensor(
    name=ALERT_SENSOR,
    minimum_interval_seconds=60,
    default_status=DefaultSensorStatus.RUNNING,
    description="Sends alerts by log, webhook and e-mail when something needs a person (docs/guides/alerts.md).",
)
def failure_alert_sensor(
    context: SensorEvaluationContext, sources_file: SourcesFile, database: Database
) -> SensorResult:
    """Find, plan, deliver. What a destination was told moves on only when it took the message.

    So a destination that is down hears of everything later, and no other hears anything twice.
    """
    settings, now = sources_file.settings, datetime.now(UTC)
    told = _read_cursor(context.cursor)
    troubles = find_troubles(context.instance, sources_file=sources_file, database=database)
    destinations = open_destinations(settings, context.log)
    plans = {
        destination.name: plan_alerts(
            troubles.findings,
            told.get(destination.name, {}),
            rules=troubles.rules,
            now=now,
            unseen=troubles.unseen,
        )
        for destination in destinations
    }
    messages = {name: Message(alerts, now, settings.dagster_url) for name, (alerts, _) in plans.items() if alerts}
    failures = deliver_all(messages, destinations)
    for failure in failures.values():
        context.log.error(one_line(str(failure)))
    after = {name: told.get(name, {}) if name in failures else told_now for name, (_, told_now) in plans.items()}
    said = [
        f"{len(troubles.findings)} troubles stand",
        *(f"{len(each.alerts)} to {name}" for name, each in messages.items()),
    ]
    return SensorResult(
        skip_reason="; ".join(said + [str(failure) for failure in failures.values()]),
        cursor=_CURSOR.dump_json(after).decode(),
    )


def _read_cursor(cursor: str | None) -> dict[str, dict[str, Told]]:
    """What was told before; nothing where another release wrote it, so that current troubles are told once more."""
    try:
        return _CURSOR.validate_json(cursor or "{}")
    except ValidationError:
        return {}
