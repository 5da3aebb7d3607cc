"""geo-assets alerts: what people would be told now, and whether each destination takes it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime

import click
import stamina
from dagster import DagsterInstance
from rich.table import Column, Table

from geo_assets.alerts.alerts import Alert, AlertCondition, Notification, Told
from geo_assets.alerts.destinations import deliver_all, open_destinations
from geo_assets.cli.console import clear_errors, console, error_console, json_option, print_json, shown
from geo_assets.cli.local_services import prepare_dagster_home
from geo_assets.resources.database import Database
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.sensors.alerts import find_troubles
from geo_assets.settings import Settings

TEST = AlertCondition(
    kind="not_observed",
    key="test",
    title="a test: nothing is wrong",
    what="`geo-assets alerts test` sent this. If you can read it, alerts arrive.",
    count=0,
    remedy="No action needed: this is a test.",
)


@click.group("alerts")
def alerts_group() -> None:
    """List current alerts, and test the destinations of alerts."""


@alerts_group.command("test")
@json_option
def test_command(*, as_json: bool) -> None:
    """Send a test alert to every destination in the environment. Exits with 1 if one does not accept it."""
    # A retry is no news here, and would be printed amid the JSON.
    stamina.instrumentation.set_on_retry_hooks([])
    settings, now = Settings(), datetime.now(UTC)
    destinations = open_destinations(settings, logging.getLogger("geo_assets.alerts"))
    told = Told(TEST.kind, TEST.title, None, since=now, at=now, version="")
    message = Notification([Alert("new", TEST.key, told, TEST)], now, settings.dagster_url)
    failures = deliver_all({destination.name: message for destination in destinations}, destinations)
    if as_json:
        print_json(
            [
                {"destination": each.name, "error": str(failures[each.name]) if each.name in failures else None}
                for each in destinations
            ]
        )
    else:
        for destination in destinations:
            console.print(f"{destination.name}: {'[red]failed[/]' if destination.name in failures else 'delivered'}")
        for failure in failures.values():
            error_console.print(f"[bold red]{failure.code}[/] {shown(failure.message)}", highlight=False)
            error_console.print(f"[dim]→ {shown(failure.remedy)}[/]", highlight=False)
        if len(destinations) == 1:
            console.print("Alerts go to the log only. Name destinations in the environment: docs/guides/alerts.md.")
    if failures:
        raise SystemExit(1)


@alerts_group.command("list")
@json_option
def list_command(*, as_json: bool) -> None:
    """List the alerts that are active, sent or not, including kinds that sources.yaml ignores."""
    with clear_errors(), _dagster_instance(Settings()) as instance:
        troubles = find_troubles(instance, sources_file=SourcesFile(), database=Database())
    if as_json:
        print_json([asdict(finding) for finding in troubles.findings])
        return
    if not troubles.findings:
        console.print("There are no alerts.")
        return
    table = Table("kind", Column("what", overflow="fold"), Column("remedy", overflow="fold"))
    for finding in troubles.findings:
        table.add_row(finding.kind, f"{shown(finding.title)}\n{shown(finding.what)}", shown(finding.remedy))
    console.print(table)


@contextmanager
def _dagster_instance(settings: Settings) -> Iterator[DagsterInstance]:
    with DagsterInstance.from_config(str(prepare_dagster_home(settings))) as instance:
        yield instance
