"""geo-assets census, repair and cogs: whether blobs, items and COGs agree, and putting back to work what does not.

Here: the state of a source, in words and JSON; files that no COG has. Not here: comparing (`geo_assets.assets.census`,
`geo_assets.assets.cogs`).
"""

from dataclasses import asdict
from typing import Any

import click
from rich.table import Column, Table

from geo_assets.assets.census import SAMPLE, HeaderCensus, compare_headers, repair_source
from geo_assets.assets.cogs import look_at_files, remove_unrecorded
from geo_assets.catalogue.census import KINDS, CensusReport, Disagreement, Kind
from geo_assets.catalogue.handover import FormerSource
from geo_assets.cli.console import (
    RenamedOption,
    approve_names,
    clear_errors,
    console,
    error_console,
    json_option,
    limit_option,
    print_json,
    reason_text,
    shown,
)
from geo_assets.ledger.cogs import CogCounts, StandingCog
from geo_assets.ledger.schema import check_schema
from geo_assets.models import SilverFile
from geo_assets.resources.database import Database
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.resources.stores import BlobStores, SilverStore
from geo_assets.sources.source import Source

NOTHING_COMPARED = HeaderCensus(compared=0, not_compared=0, disagreements={})

sample_option = click.option(
    "--sample", default=SAMPLE, show_default=True, help="Open this many random blobs of each source again"
)


@click.command("census")
@click.argument("source", required=False)
@sample_option
@json_option
def census_command(source: str | None, *, sample: int, as_json: bool) -> None:
    """Check that blobs, items and tables agree, for SOURCE or all sources. Exits with 1 if they do not.

    Random blobs are opened again: headers of rasters are compared with their items, vector files with their tables and
    items. What only waits is named as well: for the next run, the end of a grace period, or approval. Items of a source
    that is no longer declared (former) are counted with its collection, else in a row of their own.
    """
    database, answers, green = Database(), list[dict[str, Any]](), True
    with clear_errors():
        check_schema(database.connections)
        everything = SourcesFile().all()
        names = list(everything)
        for declared in _sources(source):
            found = database.census.take(declared.name, collection_id=declared.collection.id, declared=names)
            headers = compare_headers(declared, sample=sample, blob_stores=BlobStores(), database=database)
            green = green and found.green and not headers.disagreements
            answers.append(_answer(found, headers))
        collections = {declared.collection.id for declared in everything.values()}
        formers = [] if source else database.handover.former_sources(names)
        counted_apart = [former for former in formers if former.collection_id not in collections]
        answers += [_answer(_census_of_former(former), NOTHING_COMPARED) for former in counted_apart]
        green = green and not counted_apart
    print_json(answers) if as_json else _print_answers(answers)
    if not green:
        raise SystemExit(1)


@click.command("repair")
@click.argument("source", required=False)
@sample_option
@click.option(*approve_names, cls=RenamedOption, is_flag=True, help="Remove orphaned items, however many they are")
@json_option
def repair_command(source: str | None, *, sample: int, approve: bool, as_json: bool) -> None:
    """Repair what `census` finds, for SOURCE or all sources.

    Blobs whose item or table is missing, stale, double or different from the blob become pending again, and the
    next ingest_rasters or load_vectors processes them. Items that no blob owns or no source made are removed. The job
    `reconcile` does all of it at once.
    """
    database, answers = Database(), []
    with clear_errors():
        check_schema(database.connections)
        names = list(SourcesFile().all())
        for declared in _sources(source):
            repair = repair_source(
                declared,
                blob_stores=BlobStores(),
                database=database,
                declared=names,
                sample=sample,
                consent=approve,
            )
            answers.append({**_answer(repair.found, repair.headers), "mended": dict(repair.mended)})
    print_json(answers) if as_json else _print_answers(answers)


def _sources(name: str | None) -> list[Source]:
    file = SourcesFile()
    return [file.get(name)] if name else list(file.all().values())


def _census_of_former(former: FormerSource) -> CensusReport:
    counts: dict[Kind, int] = {**dict.fromkeys(KINDS, 0), "former": former.items}
    first = Database().handover.former_items(former.source, most=20)
    return CensusReport(former.source, counts, [Disagreement("former", **item) for item in first])


def _answer(found: CensusReport, headers: HeaderCensus) -> dict[str, Any]:
    findings = [asdict(finding) for finding in found.findings[:100]]
    return {"source": found.source, "counts": dict(found.counts), "findings": findings, "headers": _headers(headers)}


def _print_answers(answers: list[dict[str, Any]]) -> None:
    table = Table("source", *(Column(kind, justify="right") for kind in KINDS), "contents", "repaired")
    for answer in answers:
        headers, mended = answer["headers"], answer.get("mended", {})
        table.add_row(
            answer["source"],
            *(f"{answer['counts'][kind]:,}" for kind in KINDS),
            f"{len(headers['disagreements'])} of {headers['compared']} disagree",
            ", ".join(f"{number:,} {name}" for name, number in mended.items() if number) or "-",
        )
    console.print(table)
    for answer in answers:
        if former := answer["counts"]["former"]:
            said = f"{former:,} items belong to sources that are no longer declared: see `geo-assets orphans`"
            console.print(f"{answer['source']}: {said}", highlight=False)
        for finding in answer["findings"][:20]:
            said = f"{finding['kind']} {finding['name'] or finding['item_id']}"
            if finding["kind"] == "unclaimed":
                said += f" (written by {finding['written_by'] or 'unknown'})"
            console.print(f"{answer['source']}: {shown(said)}", highlight=False)
        if left := answer["headers"]["not_compared"]:
            said = f"not compared: {left:,}, which changed meanwhile or are more than is read at once"
            console.print(f"{answer['source']}: {said}", highlight=False)
        for name, said in answer["headers"]["disagreements"].items():
            console.print(f"{answer['source']}: {shown(name)}: {shown('; '.join(said))}", highlight=False)


def _headers(headers: HeaderCensus) -> dict[str, Any]:
    return {**asdict(headers), "not_mended": sorted(headers.not_mended)}


@click.command("cogs")
@click.argument("source")
@limit_option(20, "rasters")
@click.option("--failed", is_flag=True, help="Show only rasters that have no COG, with the reason")
@click.option("--orphans", is_flag=True, help="List the files in the output location that no COG has")
@click.option("--remove", is_flag=True, help="With --orphans: remove them")
@json_option
def cogs_command(source: str, *, limit: int, failed: bool, orphans: bool, remove: bool, as_json: bool) -> None:
    """Show the COGs of SOURCE: how many are made, linked, refused and to make, and the latest of them.

    They are made by the job make_cogs, which cog_sensor launches. It also removes files that no COG has, if it recorded
    them before they were written. --orphans lists those, and files that were never recorded: `--orphans --remove`
    removes the latter as well if they are older than a day. It works for a source that is no longer declared.
    """
    if remove and not orphans:
        raise click.UsageError("--remove needs --orphans.")
    database = Database()
    if orphans:
        _show_orphans(source, database, remove=remove, as_json=as_json)
        return
    with clear_errors():
        cogs = database.cogs
        counts = cogs.counts(SourcesFile().get(source))
        standing = [cog for cog in cogs.standing(source) if cog.error_code or not failed][:limit]
        number = cogs.orphan_counts().get(source, 0)
    if as_json:
        rasters = [asdict(cog) for cog in standing]
        print_json({"source": source, **asdict(counts), "orphans": number, "rasters": rasters})
        return
    _print(source, counts, standing)
    if number:
        console.print(f"{number:,} files have no COG: see `geo-assets cogs {shown(source)} --orphans`.")


def _show_orphans(source: str, database: Database, *, remove: bool, as_json: bool) -> None:
    silver, removed, left = SilverStore(), list[SilverFile](), dict[str, str]()
    with clear_errors():
        declared = SourcesFile().all().get(source)
        url = declared.cogs.url if declared and declared.cogs else None
        files = look_at_files(source, places=[silver.at(url).place], database=database, silver_store=silver)
        if remove:
            swept = database.cogs.sweep(silver.remove, source=source)
            removed = [*swept.removed, *remove_unrecorded(files, silver_store=silver)]
            left = {place: str(error) for place, error in swept.left.items()}
    gone = {(file.place, file.name_in_place) for file in removed}
    rows = [
        {
            "place": file.place,
            "name": file.name_in_place,
            "recorded": recorded,
            "raster": file.name if recorded else None,
            "since": file.announced_at,
            "removed": (file.place, file.name_in_place) in gone,
        }
        for recorded, listed in ((True, files.orphans), (False, files.unrecorded))
        for file in listed
    ]
    if as_json:
        print_json({"source": source, "orphans": rows, "removed": len(removed), "not_removed": left})
    else:
        _print_orphans(source, rows, left)
    if left:
        raise SystemExit(1)


def _print_orphans(source: str, rows: list[dict[str, Any]], left: dict[str, str]) -> None:
    if not rows:
        console.print(f"{shown(source)}: every file has its COG.")
        return
    table = Table(Column("file", overflow="fold"), Column("place", overflow="fold"), "since", "state")
    for row in rows:
        state = "removed" if row["removed"] else "left by a run" if row["recorded"] else "not recorded"
        table.add_row(shown(row["name"]), shown(row["place"]), f"{row['since']:%Y-%m-%d %H:%M}", state)
    console.print(table)
    for place, error in left.items():
        error_console.print(f"[red]{shown(place)}[/]: {shown(error)}", highlight=False)


def _print(source: str, counts: CogCounts, standing: list[StandingCog]) -> None:
    console.print(
        f"{source}: {counts.made:,} COGs made, {counts.linked:,} rasters are COGs themselves, "
        f"{counts.refused:,} refused, {counts.to_make:,} to make; {counts.size_bytes:,} bytes, "
        f"made of {counts.original_bytes:,}."
    )
    if not standing:
        return
    table = Table(Column("raster", overflow="fold"), "kind", Column("COG, or why there is none", overflow="fold"))
    for cog in standing:
        kind = str((cog.facts or {}).get("kind") or "")
        reason = reason_text(f"{cog.error_code}: {cog.error_message}", cog.error_remedy)
        table.add_row(shown(cog.name), kind, reason if cog.error_code else shown(str(cog.href)))
    console.print(table)
