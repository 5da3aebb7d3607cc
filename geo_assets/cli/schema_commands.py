"""geo-assets schemas: what items are checked against, and fetching what is missing."""

from pathlib import Path

import click
from rich.table import Column, Table

from geo_assets.cli.console import clear_errors, console, json_option, print_json, shown
from geo_assets.errors import GeoAssetsError, InvalidConfiguration
from geo_assets.settings import Settings
from geo_assets.stac.extensions import EXTENSIONS
from geo_assets.stac.schemas import ITEM_SCHEMA, fetch_schemas, unchecked_extensions


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
