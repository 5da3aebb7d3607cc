"""The values that travel between steps, kept in the catalogue's database: every host of a run finds them there.

Here: the IO manager. Not here: removing what finished runs leave (`geo_assets.ledger.history`).
Steps hand on references (a batch, a scope, a count), so a value is a few hundred bytes of JSON.
"""

import json
from functools import cache
from typing import Any

from dagster import ConfigurableIOManager, InitResourceContext, InputContext, OutputContext
from psycopg.types.json import Jsonb
from pydantic import Field, PrivateAttr, TypeAdapter

from geo_assets.errors import InvalidConfiguration, TransientError
from geo_assets.ledger.database import read_sql
from geo_assets.resources.database import Database


class StepValueMissing(TransientError):
    """A step asks for a value that retention has removed, or that was never stored."""

    code = "step_value_missing"
    remedy = "Run the whole job again instead of from its failure: what is done in the ledger is not done twice."


class StepValues(ConfigurableIOManager):
    """Stores each output as JSON of its declared type, under (run, step, output, mapping key)."""

    database_url: str = Field(
        default="", description="PostgreSQL URL of the catalogue; empty: as for the resource database."
    )
    _database: Database | None = PrivateAttr(default=None)

    def setup_for_execution(self, context: InitResourceContext) -> None:  # noqa: ARG002
        """Have the settings read again by this run, and no more often."""
        self._database = None

    @property
    def database(self) -> Database:
        """The database that the values are kept in."""
        if self._database is None:
            self._database = Database(database_url=self.database_url)
        return self._database

    def handle_output(self, context: OutputContext, obj: Any) -> None:
        """Store a value; the step that made it may be run again and replace it."""
        key = _key(context)
        value = _adapter(_declared_type(context)).dump_python(obj, mode="json")
        with self.database.connections.borrow() as connection:
            connection.execute(read_sql("store_step_value"), {**key, "value": Jsonb(value)})

    def load_input(self, context: InputContext) -> Any:
        """The value of the upstream output, as its declared type."""
        upstream = context.upstream_output
        if upstream is None:
            raise InvalidConfiguration(f"Input {context.name!r} has no upstream output.")
        key = _key(upstream)
        rows = self.database.connections.rows("select_step_value", **key)
        if not rows:
            raise StepValueMissing(
                f"Output {key['output']!r} of step {key['step_key']} of run {key['run_id']} is gone."
            )
        # As JSON text: a strict type takes a date from a string there only.
        return _adapter(_declared_type(upstream)).validate_json(json.dumps(rows[0]["value"]))


def _key(output: OutputContext) -> dict[str, str]:
    if output.has_asset_key:
        raise InvalidConfiguration(
            f"Asset {output.asset_key.to_user_string()} returns a value.",
            remedy="Return a MaterializeResult or None: what an asset makes lies in the catalogue or in a container.",
        )
    # After a re-execution from failure, the run that made the value, not the one that reads it.
    run_id, step_key, name, *mapping_key = output.get_identifier()
    return {"run_id": run_id, "step_key": step_key, "output": name, "mapping_key": "".join(mapping_key)}


def _declared_type(output: OutputContext) -> Any:
    declared = output.dagster_type.typing_type
    if declared is Any:
        raise InvalidConfiguration(
            f"Output {output.name!r} of {output.step_key} has no declared type.",
            remedy="Annotate what the op returns: values travel as JSON of their type.",
        )
    return declared


@cache
def _adapter(declared: Any) -> TypeAdapter[Any]:
    return TypeAdapter(declared)
