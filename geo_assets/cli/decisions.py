"""geo-assets deletions, orphans and quarantine: what waits for a person to decide.

Here: items whose blobs are gone, and approving their removal if they are many; what sources left that sources.yaml no
longer declares, and adopting or removing it; blobs that cannot have an item: which, why, and another try. Not here:
dead letters (`deadletters`), and when something must wait (`geo_assets.ledger`, `geo_assets.catalogue.handover`).
"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import click
from rich.table import Column, Table

from geo_assets.catalogue.handover import FormerSource
from geo_assets.cli.console import (
    RenamedOption,
    approve_names,
    clear_errors,
    console,
    json_option,
    limit_option,
    print_json,
    reason_text,
    shown,
)
from geo_assets.errors import GeoAssetsError, InvalidConfiguration
from geo_assets.ledger.decisions import Deletions, QuarantinedBlob, QuarantineFilter
from geo_assets.ledger.schema import check_schema
from geo_assets.resources.database import Database
from geo_assets.resources.sources_file import SourcesFile

REASONS = {
    "held": "held: needs approval",
    "in_grace": "in its grace period",
    "renamed": "renamed: the next run removes it",
    "refused": "the blob is quarantined: the next run removes it",
    "gone": "the next run removes it",
    "unjudged": "the next run judges it",
}


@click.command("deletions")
@click.argument("source")
@click.option(*approve_names, cls=RenamedOption, is_flag=True, help="Approve the held deletions")
@limit_option(20, "items")
@json_option
def deletions_command(source: str, *, approve: bool, limit: int, as_json: bool) -> None:
    """List items of SOURCE that will be removed or are held; with `--approve`, approve the held ones.

    A run that would remove more items at once than the source's `deletions` allow holds them and fails after all
    else is done. You approve the deletions that are held now: later ones are judged separately.
    """
    database = Database()
    with clear_errors():
        SourcesFile().get(source)
        released = database.deletions.consent(source) if approve else 0
        deletions = database.deletions.of(source, most=limit)
    if as_json:
        print_json({"source": source, "consented": released, **asdict(deletions)})
        return
    _print_deletions(source, deletions)
    if approve:
        console.print(f"{released:,} deletions are approved. The next run removes their items.")
    elif deletions.held:
        console.print(f"To approve the held deletions: geo-assets deletions {source} --approve")


def _print_deletions(source: str, deletions: Deletions) -> None:
    console.print(
        f"{source}: {deletions.items:,} items; {deletions.held:,} are held ({deletions.held_share:.0%}), "
        f"{deletions.in_grace:,} are in their grace period, {deletions.due:,} are removed by the next run."
    )
    if not deletions.first:
        return
    table = Table(Column("blob", overflow="fold"), Column("item", overflow="fold"), "gone since", "state")
    for item in deletions.first:
        since = f"{item.deleted_at:%Y-%m-%d %H:%M}" if item.deleted_at else ""
        table.add_row(shown(item.name), shown(item.item_id), since, REASONS[item.reason])
    console.print(table)


@click.command("orphans")
@click.argument("source", required=False)
@click.option("--adopt", metavar="NEW", help="Make SOURCE part of the declared source NEW with the same location")
@click.option(
    "--remove",
    "--withdraw",
    "remove",
    cls=RenamedOption,
    is_flag=True,
    help="Remove the items and tables of SOURCE; needs --approve",
)
@click.option(*approve_names, cls=RenamedOption, is_flag=True, help="With --remove: approve it")
@limit_option(20, "items of SOURCE")
@json_option
def orphans_command(
    source: str | None, *, adopt: str | None, remove: bool, approve: bool, limit: int, as_json: bool
) -> None:
    """List the items and tables of sources that sources.yaml no longer declares, or of one former SOURCE.

    A declared source with the same blobs adopts them with its next listing; renaming a source needs nothing else. What
    no source adopts stays in the catalogue until you adopt or remove it. Adopted blobs that are gone are deletions of
    the adopting source, by its own settings.
    """
    if source is None and (adopt or remove):
        raise click.UsageError("--adopt and --remove need a SOURCE.")
    if (adopt and remove) or (approve and not remove):
        raise click.UsageError("Use --adopt NEW, or --remove --approve.")
    database = Database()
    with clear_errors():
        handover = database.handover
        check_schema(handover.connections)
        declared = SourcesFile().all()
        if source is None:
            _show_all(handover.former_sources(declared), as_json=as_json)
            return
        former = handover.former_source(source, declared)
        answer: dict[str, Any] = {**asdict(former), "adopted": 0, "withdrawn": 0}
        if adopt:
            heir = SourcesFile().get(adopt)
            database.sources.register(heir)
            answer["adopted"] = handover.adopt(heir, former)
        elif remove:
            answer["withdrawn"] = handover.withdraw_former(former, declared, consent=approve)
            database.tables.drop_unclaimed(source)
            handover.forget_source(source)
        else:
            answer["first"] = handover.former_items(source, most=limit)
    if as_json:
        print_json(answer)
    elif adopt:
        console.print(f"{shown(adopt)} adopted {answer['adopted']:,} blobs; its next run updates their items.")
    elif remove:
        console.print(f"{answer['withdrawn']:,} items and {former.tables:,} tables of {shown(source)} were removed.")
    else:
        _show_one(former, answer["first"])


def print_former_sources(formers: list[FormerSource]) -> None:
    """A line for each source that is no longer declared and left items or tables."""
    for former in formers:
        console.print(
            f"{shown(former.source)} is no longer declared, left {former.items:,} items, {former.tables:,} tables. "
            f"See `geo-assets orphans {shown(former.source)}`.",
            highlight=False,
        )


def _show_all(formers: list[FormerSource], *, as_json: bool) -> None:
    if as_json:
        print_json([asdict(former) for former in formers])
        return
    if not formers:
        console.print("Every item and table belongs to a declared source.")
    print_former_sources(formers)


def _show_one(former: FormerSource, items: list[dict[str, str]]) -> None:
    print_former_sources([former])
    table = Table(Column("blob or scene", overflow="fold"), Column("item", overflow="fold"), "collection")
    for item in items:
        table.add_row(shown(item["name"]), shown(item["item_id"]), item["collection_id"])
    console.print(table)
    console.print(
        f"To adopt them, declare a source for {shown(former.url)}, or use --adopt NEW. "
        "To remove them, use --remove --approve.",
        highlight=False,
    )


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
