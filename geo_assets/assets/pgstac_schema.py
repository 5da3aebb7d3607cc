"""pgstac_schema: the database the catalogue lives in: install -> roles -> verify."""

from typing import Any

from dagster import In, Nothing, OpExecutionContext, graph_asset, op

from geo_assets.assets.failing import clear_failures
from geo_assets.assets.labels import DATABASE, OWNERS
from geo_assets.resources.database import Database


@op(pool="pgstac", description="Bring PgSTAC and the ledger to this release's version.")
def install_schema(context: OpExecutionContext, database: Database) -> None:
    """Migrate both schemas."""
    with clear_failures():
        context.add_output_metadata(dict(database.schemas.install()))


@op(ins={"installed": In(Nothing)}, pool="pgstac", description="Create the loader and the read-only role.")
def grant_roles(context: OpExecutionContext, database: Database) -> None:
    """Create the roles and their grants."""
    with clear_failures():
        context.add_output_metadata({"roles": ", ".join(database.schemas.grant_roles())})


@op(
    ins={"granted": In(Nothing)},
    description="Check that the schemas answer and the roles may do just what they should.",
)
def verify_schema(context: OpExecutionContext, database: Database) -> None:
    """Verify versions and privileges."""
    with clear_failures():
        context.add_output_metadata(dict(database.schemas.verify()))


@graph_asset(
    description="PgSTAC and the ledger, installed, granted and verified.",
    group_name=DATABASE,
    kinds={"postgres", "postgis"},
    owners=OWNERS,
)
def pgstac_schema() -> Any:
    """install -> roles -> verify."""
    return verify_schema(grant_roles(install_schema()))
