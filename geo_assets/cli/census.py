"""geo-assets census and repair: whether blobs and items agree, and putting back to work what does not."""

from dataclasses import asdict
from typing import Any

import click
from rich.table import Column, Table

from geo_assets.assets.census import SAMPLE, HeaderCensus, compare_headers, repair_source
from geo_assets.catalogue.census import KINDS, CensusReport, Finding, Kind
from geo_assets.catalogue.handover import FormerSource
from geo_assets.cli.console import RenamedOption, approve_names, clear_errors, console, json_option, print_json, shown
from geo_assets.ledger.schema import check_schema
from geo_assets.resources.database import Database
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.resources.stores import BlobStores
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
    return CensusReport(former.source, counts, [Finding("former", **item) for item in first])


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
