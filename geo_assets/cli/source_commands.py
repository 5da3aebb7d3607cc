"""geo-assets sources, status, plan, paths and schemas: what is declared, its state, and what a run would do.

Here: also how queues compare, and what items are checked against, with fetching what is missing. Not here: what waits
for a person (`decisions`), and what agrees (`census`).
"""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from rich.table import Column, Table

from geo_assets.assets.container_listing import plan_source
from geo_assets.assets.plan import SourcePlan
from geo_assets.catalogue.handover import FormerSource
from geo_assets.cli.console import (
    clear_errors,
    console,
    error_console,
    json_option,
    limit_option,
    print_json,
    reason_text,
    shown,
)
from geo_assets.cli.decisions import print_former_sources
from geo_assets.display import say_duration
from geo_assets.errors import GeoAssetsError, InvalidConfiguration
from geo_assets.ledger.blobs import SourceStatus, StandingFailure
from geo_assets.ledger.scenes import WaitingScene
from geo_assets.ledger.schema import check_schema
from geo_assets.resources.database import Database
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.resources.stores import BlobStores
from geo_assets.settings import Settings
from geo_assets.sources.source import Source
from geo_assets.stac.extensions import EXTENSIONS
from geo_assets.stac.schemas import ITEM_SCHEMA, fetch_schemas, unchecked_extensions
from geo_assets.storage.blob_store import SHORT_PATIENCE
from geo_assets.storage.listing import build_matcher


@click.group("schemas")
def schemas_group() -> None:
    """The JSON schemas that every item is checked against before it is loaded."""


@schemas_group.command("list")
@json_option
def list_command(*, as_json: bool) -> None:
    """Show each schema, and whether items are checked against it."""
    with clear_errors():
        folder = Settings().schemas_folder
        reasons = unchecked_extensions(folder)
    rows = [{"schema": url, "checked": url not in reasons, "reason": reasons.get(url)} for url in _all_schemas()]
    if as_json:
        print_json({"folder": folder, "schemas": rows})
        return
    table = Table(Column("schema", no_wrap=True), "checked", Column("reason", overflow="fold"))
    for row in rows:
        table.add_row(str(row["schema"]), "yes" if row["checked"] else "no", shown(str(row["reason"] or "")))
    console.print(table)


@schemas_group.command("fetch")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), help="Default: GEO_ASSETS_SCHEMAS")
@click.option("--mirror", help="Fetch from a copy of such a folder below this address instead")
@json_option
def fetch_command(folder: Path | None, *, mirror: str | None, as_json: bool) -> None:
    """Fetch the extensions' schemas into a folder (needs a network; nothing else does)."""
    with clear_errors():
        own = Settings().schemas_folder
        target = folder.absolute() if folder else own
        if target is None:
            raise InvalidConfiguration(
                "No folder is named for the schemas.", remedy="Set `GEO_ASSETS_SCHEMAS`, or use `--folder`."
            )
        with console.status("Fetching"):
            fetched = fetch_schemas(target, mirror=mirror)
    if as_json:
        print_json({"folder": target, "schemas": fetched})
        return
    console.print(f"{len(fetched)} schemas in {target}", highlight=False)
    if target != own:
        console.print(f"Set GEO_ASSETS_SCHEMAS={target}, so that items are checked against them.", highlight=False)


def print_unchecked_schemas() -> None:
    """A line on what items are not checked against; none where they are checked against everything."""
    try:
        reasons = unchecked_extensions(Settings().schemas_folder)
    except GeoAssetsError as error:
        console.print(f"Schemas: {shown(error.message)} {shown(error.remedy)}", highlight=False)
        return
    if reasons:
        names = ", ".join(_short(url) for url in reasons)
        console.print(f"Items are not (fully) checked against {names}: see `geo-assets schemas list`.", highlight=False)


def _all_schemas() -> tuple[str, ...]:
    return (ITEM_SCHEMA, *EXTENSIONS)


def _short(url: str) -> str:
    """ "file v2.1.0" for its address."""
    *_, name, version, _ = url.split("/")
    return f"{name} {version}"


STATES = {
    "blobs": "blobs",
    "described": "header read",
    "catalogued": "catalogued",
    "pending": "pending",
    "waiting": "incomplete",
    "quarantined": "quarantined",
    "deleted": "deleted",
}
"""What people read of the counts of `SourceStatus`."""


@click.command("sources")
@json_option
def sources_command(*, as_json: bool) -> None:
    """List the sources of sources.yaml and check that each can be reached. Exits with 1 if one cannot."""
    with clear_errors():
        sources = SourcesFile().all()
    checks = [_check(source) for source in sources.values()]
    if as_json:
        print_json(checks)
    else:
        _print_sources(checks)
    if any(check["error"] for check in checks):
        raise SystemExit(1)


@click.command("status")
@click.argument("source", required=False)
@limit_option(1000, "failures")
@json_option
def status_command(source: str | None, *, limit: int, as_json: bool) -> None:
    """Show how many blobs of SOURCE (or of each source) are in which state, and why some have no item.

    Sources whose store cannot be listed are shown with the reason and the time of the next try; sources that are no
    longer declared, with what they left.
    """
    database = Database()
    with clear_errors():
        check_schema(database.connections)
        if source is None:
            statuses = [database.blobs.status(name) for name in SourcesFile().all()]
            orphans, formers = database.cogs.orphan_counts(), database.handover.former_sources(SourcesFile().all())
            if as_json:
                declared = [_with_orphans(status, orphans) for status in statuses]
                print_json(declared + [_status_of_former(database, former, orphans) for former in formers])
            else:
                print_statuses(statuses)
                print_troubles(statuses)
                print_former_sources(formers)
                print_orphans(orphans)
                print_unchecked_schemas()
            return
        SourcesFile().get(source)
        status, failures = database.blobs.status(source), database.blobs.failures(source, most=limit)
        waiting = database.scenes.waiting(source, most=limit)
        orphans = database.cogs.orphan_counts()
    if as_json:
        print_json(
            {
                **_with_orphans(status, orphans),
                "failures": [asdict(failure) for failure in failures],
                "waiting_scenes": [asdict(scene) for scene in waiting],
            }
        )
    else:
        print_statuses([status])
        print_troubles([status])
        print_failures(failures)
        print_waiting(waiting)
        print_orphans({name: files for name, files in orphans.items() if name == source})
        print_unchecked_schemas()


def print_statuses(statuses: list[SourceStatus]) -> None:
    """A table of counts, one row per source; if blobs are pending, how long the first has been."""
    now = datetime.now(UTC)
    waits = [say_duration(now - status.pending_since) if status.pending_since else "" for status in statuses]
    links = [f"{status.cogs_to_link:,}" if status.cogs_to_link else "" for status in statuses]
    further = {name: cells for name, cells in (("COGs to link", links), ("pending for", waits)) if any(cells)}
    table = Table("source", *(Column(name, justify="right") for name in (*STATES.values(), *further)))
    for number, status in enumerate(statuses):
        counts = (f"{getattr(status, name):,}" for name in STATES)
        table.add_row(status.source, *counts, *(cells[number] for cells in further.values()))
    console.print(table)


def print_troubles(statuses: list[SourceStatus]) -> None:
    """A table of the sources that cannot be looked at, a row a source."""
    troubles = [(status.source, status.trouble) for status in statuses if status.trouble]
    if not troubles:
        return
    table = Table(
        "source",
        Column("code", no_wrap=True),
        "reason",
        "since",
        Column("tries", justify="right"),
        "next try",
        title="Sources that cannot be listed",
        title_justify="left",
    )
    for source, trouble in troubles:
        reason = shown(f"{trouble.message} {trouble.remedy}".strip())
        since, until = f"{trouble.since:%Y-%m-%d %H:%M:%S} UTC", f"{trouble.until:%H:%M:%S} UTC"
        table.add_row(source, trouble.code, reason, since, str(trouble.times), until)
    console.print(table)


def print_failures(failures: list[StandingFailure]) -> None:
    """A table of the current reasons, one row per blob."""
    if not failures:
        console.print("No failures: every blob has its item or is pending.")
        return
    table = Table(
        Column("blob", overflow="fold"),
        Column("code", no_wrap=True),
        "reason",
        "attempts",
        title="Blobs without an item",
        title_justify="left",
    )
    for failure in failures:
        table.add_row(
            shown(failure.name), failure.code, reason_text(failure.message, failure.remedy), str(failure.attempts)
        )
    console.print(table)


def print_waiting(scenes: list[WaitingScene]) -> None:
    """A table of the scenes that are no items yet, and what they wait for."""
    if not scenes:
        return
    table = Table("scene", Column("blobs", justify="right"), "waiting for", title="Scenes", title_justify="left")
    for waiting in scenes:
        table.add_row(shown(waiting.scene), f"{waiting.blobs:,}", shown(", ".join(waiting.waiting_for)))
    console.print(table)


def print_orphans(orphans: Mapping[str, int]) -> None:
    """A line for each source with files in silver that no COG has; of sources that are no longer declared too."""
    for name, files in orphans.items():
        console.print(f"{shown(name)}: {files:,} files have no COG: see `geo-assets cogs {shown(name)} --orphans`.")


def _with_orphans(status: SourceStatus, orphans: Mapping[str, int]) -> dict[str, Any]:
    more = {"orphaned_files": orphans.get(status.source, 0), "declared": True, "former_items": 0, "former_tables": 0}
    return {**asdict(status), **more}


def _status_of_former(database: Database, former: FormerSource, orphans: Mapping[str, int]) -> dict[str, Any]:
    left = {"declared": False, "former_items": former.items, "former_tables": former.tables}
    return {**_with_orphans(database.blobs.status(former.source), orphans), **left}


def _check(source: Source) -> dict[str, Any]:
    """What the first page of a listing shows, or the error it meets."""
    matches = build_matcher(source)
    check: dict[str, Any] = {"source": source.name, "url": source.url, "collection": source.collection.id}
    try:
        with (
            console.status(f"Listing {source.name}"),
            BlobStores().open(source, patience=SHORT_PATIENCE) as store,
        ):
            page = next(store.list_pages(source.prefix))
    except GeoAssetsError as error:
        return {**check, "seen": 0, "matching": 0, "error": str(error)}
    return {**check, "seen": len(page), "matching": sum(matches(blob.name) for blob in page), "error": None}


def _print_sources(checks: list[dict[str, Any]]) -> None:
    table = Table("source", "url", "collection", "first page")
    for check in checks:
        found = "[red]unreachable[/]" if check["error"] else f"{check['matching']:,} of {check['seen']:,} blobs match"
        table.add_row(check["source"], shown(check["url"]), check["collection"], found)
    console.print(table)
    for check in checks:
        if check["error"]:
            error_console.print(f"[red]{check['source']}[/]: {shown(check['error'])}", highlight=False)


@click.command("plan")
@click.argument("source")
@json_option
def plan_command(source: str, *, as_json: bool) -> None:
    """List SOURCE and show what a run would do: new, changed, deleted and pending blobs, batches and steps."""
    with clear_errors():
        declared = SourcesFile().get(source)
        if as_json:
            plan = plan_source(declared, blob_stores=BlobStores(), database=Database())
        else:
            with console.status(f"Listing {source}"):
                plan = plan_source(declared, blob_stores=BlobStores(), database=Database())
    if as_json:
        print_json(plan.as_dict())
    else:
        _print_plan(plan)


def _print_plan(plan: SourcePlan) -> None:
    table = Table("", "", title=f"A run of {plan.source} would find", title_justify="left", show_header=False)
    figures = {
        "new": plan.new,
        "changed": plan.changed,
        "deleted": "not known (limit)" if plan.deleted is None else plan.deleted,
        "unchanged": plan.unchanged,
        "pending from before": plan.pending,
        "bytes of what it would work on": plan.size_bytes,
        "batches": f"{plan.batches:,} of up to {plan.blobs_a_batch:,} blobs",
        "steps": plan.expected_steps,
    }
    for name, figure in figures.items():
        table.add_row(name, figure if isinstance(figure, str) else f"{figure:,}")
    console.print(table)
    console.print("Nothing was done." if plan.blobs or plan.deleted else "Nothing is to be done.")


_SECONDS = ("latency_p50", "latency_p95", "latency_max", "seconds_a_thousand")


@click.command("paths")
@click.option("--hours", default=24.0, show_default=True, help="Count what arrived in the last N hours")
@json_option
def paths_command(*, hours: float, as_json: bool) -> None:
    """Compare the channels (listing, Storage Queue, Service Bus): messages, retries, dead letters, and latency."""
    with clear_errors():
        paths = Database().path_comparison.compare(since=datetime.now(UTC) - timedelta(hours=hours))
    answers = [path.as_dict() for path in paths]
    if as_json:
        print_json(answers)
        return
    # A row a figure: eleven columns would not fit into a terminal.
    table = Table("", *[Column(path.path.replace("_", " "), justify="right") for path in paths])
    for name in answers[0]:
        if name != "path":
            label = name.replace("_", " ") + (", s" if name in _SECONDS else "")
            table.add_row(label, *["–" if answer[name] is None else f"{answer[name]:,}" for answer in answers])
    console.print(table)
