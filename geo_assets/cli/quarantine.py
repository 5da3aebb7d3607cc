"""geo-assets quarantine: blobs that cannot have an item: which, why, and another try."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import click
from rich.table import Column, Table

from geo_assets.cli.console import clear_errors, console, json_option, limit_option, print_json, reason_text, shown
from geo_assets.errors import GeoAssetsError, InvalidConfiguration
from geo_assets.ledger.quarantine import QuarantinedBlob, QuarantineFilter
from geo_assets.resources.database import Database
from geo_assets.resources.sources_file import SourcesFile

code_option = click.option("--code", help="Only blobs with this code, such as missing_crs")
prefix_option = click.option("--prefix", help="Only blobs whose full name starts with this")


@click.group("quarantine")
def quarantine_group() -> None:
    """List, explain and replay blobs whose present version cannot have an item.

    A new version of a blob, and a new rule that could solve it, are tried without a replay.
    """


@quarantine_group.command("list")
@click.argument("source", required=False)
@code_option
@prefix_option
@limit_option(100, "blobs")
@json_option
def list_command(source: str | None, *, code: str | None, prefix: str | None, limit: int, as_json: bool) -> None:
    """List the quarantined blobs of SOURCE (or of each source), with their reasons and how many have each."""
    with clear_errors():
        which, quarantine = _filter(source, code, prefix), Database().quarantine
        counts, blobs = quarantine.counts(which), quarantine.blobs(which, most=limit)
    if as_json:
        total = [{"source": name, "code": reason, "blobs": number} for name, reason, number in counts]
        print_json({"counts": total, "blobs": [asdict(blob) for blob in blobs]})
    else:
        _print_list(counts, blobs)


@quarantine_group.command("explain")
@click.argument("source")
@click.argument("blob")
@json_option
def explain_command(source: str, blob: str, *, as_json: bool) -> None:
    """Show the state of BLOB of SOURCE, the reason, the remedy and earlier attempts."""
    with clear_errors():
        SourcesFile().get(source)
        known = Database().quarantine.explain(source, blob)
        if known is None:
            raise InvalidConfiguration(
                f"Source `{source}` has no blob {blob!r} in the ledger.",
                remedy=f"Use its full name in the container: `geo-assets quarantine list {source}`.",
            )
    error = next((error for error in _errors() if error.code == known["code"]), None)
    known |= {"meaning": _first_line(error) if error else None}
    print_json(known) if as_json else _print_explanation(known)


@quarantine_group.command("replay")
@click.argument("source", required=False)
@code_option
@prefix_option
@click.option("--all", "everything", is_flag=True, help="Every quarantined blob of every source")
@json_option
def replay_command(
    source: str | None, *, code: str | None, prefix: str | None, everything: bool, as_json: bool
) -> None:
    """Retry quarantined blobs in the next run. Select by SOURCE, `--code`, `--prefix` or `--all`."""
    if not (source or code or prefix or everything):
        raise click.UsageError("Name a source, or use --code, --prefix or --all.")
    with clear_errors():
        replayed = Database().quarantine.replay(_filter(source, code, prefix))
    if as_json:
        print_json({"replayed": replayed})
    else:
        console.print(f"{replayed:,} blobs are pending again; the next ingest_rasters or load_vectors retries them.")


def _filter(source: str | None, code: str | None, prefix: str | None) -> QuarantineFilter:
    if source is not None:
        SourcesFile().get(source)
    return QuarantineFilter(source=source, code=code, prefix=prefix)


def _errors(base: type[GeoAssetsError] = GeoAssetsError) -> Iterator[type[GeoAssetsError]]:
    for error in base.__subclasses__():
        yield error
        yield from _errors(error)


def _first_line(error: type[GeoAssetsError]) -> str:
    return (error.__doc__ or "").strip().splitlines()[0]


def _print_list(counts: list[tuple[str, str, int]], blobs: list[QuarantinedBlob]) -> None:
    if not blobs:
        console.print("There are no such quarantined blobs.")
        return
    table = Table("source", Column("blob", overflow="fold"), Column("code", no_wrap=True), "reason", "attempts")
    for blob in blobs:
        table.add_row(
            blob.source, shown(blob.name), blob.code, reason_text(blob.message, blob.remedy), str(blob.attempts)
        )
    console.print(table)
    for source, code, number in counts:
        console.print(f"{source}: {number:,} {code}", highlight=False)


def _print_explanation(known: dict[str, Any]) -> None:
    console.print(f"{shown(known['name'])}: {known['state']}", highlight=False)
    for label, key in (("code", "code"), ("meaning", "meaning"), ("reason", "message"), ("remedy", "remedy")):
        if known[key]:
            console.print(f"{label}: {shown(known[key])}", highlight=False)
    console.print(
        f"version: {shown(known['etag'])}, {known['size_bytes']:,} bytes, {known['last_modified']:%Y-%m-%d %H:%M}"
    )
    for attempt in known["attempts"]:
        kind = "refused" if attempt["permanent"] else "failed"
        console.print(
            f"  {attempt['failed_at']:%Y-%m-%d %H:%M:%S} {kind} at {attempt['stage']}: {attempt['code']} "
            f"(version {shown(attempt['etag'])}, run {attempt['run_id']})",
            highlight=False,
        )
