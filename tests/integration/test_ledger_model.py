"""Any sequence of changes, listings and outcomes: the ledger says what a few lines of Python say."""

from dataclasses import dataclass
from itertools import count
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from geo_assets.ledger.blobs import StageName
from geo_assets.models import Failure
from geo_assets.resources.database import Database
from geo_assets.sources.source import Source
from tests.ledgers import METADATA, SOURCE, blob, listed, mark

NAMES = st.sampled_from(["a", "b", "x/c", "x/ü"])
NUMBERS = count(1)


@dataclass
class Row:
    """What the ledger should know of one blob."""

    etag: str
    deleted: bool = False
    described: str | None = None
    catalogued: tuple[str, str] | None = None
    refused: tuple[str, StageName, str] | None = None

    def state(self, digest: str) -> str:
        """The state that the view should show under the rule with this digest."""
        if self.deleted:
            return "deleted"
        if self.refused in ((self.etag, "describe", ""), (self.etag, "catalogue", digest)):
            return "quarantined"
        if self.described != self.etag:
            return "to_describe"
        return "catalogued" if self.catalogued == (self.etag, digest) else "to_catalogue"


class LedgerMachine(RuleBasedStateMachine):
    """A store, the ledger, and what the ledger should say."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database
        self.source: Source = SOURCE.model_copy(update={"name": f"model_{next(NUMBERS)}"})
        self.store: dict[str, str] = {}
        self.rows: dict[str, Row] = {}
        database.sources.register(self.source)

    @rule(name=NAMES)
    def put(self, name: str) -> None:
        """Create or overwrite a blob."""
        self.store[name] = f"v{next(NUMBERS)}"

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        """Delete a blob."""
        self.store.pop(name, None)

    @rule(name=NAMES)
    def restore(self, name: str) -> None:
        """Bring back the version the ledger knows."""
        if name in self.rows:
            self.store[name] = self.rows[name].etag

    @rule(data=st.data(), complete=st.booleans())
    def list_all(self, data: st.DataObject, complete: bool) -> None:
        """List the store; an incomplete listing sees a part of it."""
        seen = [name for name in sorted(self.store) if complete or data.draw(st.booleans())]
        live = {name: row.etag for name, row in self.rows.items() if not row.deleted}
        new = [name for name in seen if name not in live]
        changed = [name for name in seen if name in live and live[name] != self.store[name]]
        gone = [name for name in live if complete and name not in self.store]
        pages = [[blob(name, self.store[name])] for name in seen]
        found = listed(self.database, *pages, complete=complete, source=self.source)
        assert found == (len(new), len(changed), len(gone), len(seen) - len(new) - len(changed))
        for name in seen:
            row = self.rows.setdefault(name, Row(self.store[name]))
            row.etag, row.deleted = self.store[name], False
        for name in gone:
            self.rows[name].deleted, self.rows[name].described = True, None

    @rule(name=NAMES, outcome=st.sampled_from(["done", "permanent", "transient"]))
    def work(self, name: str, outcome: str) -> None:
        """Do the next stage of a blob that awaits one."""
        row = self.rows.get(name)
        stages: dict[str, StageName] = {"to_describe": "describe", "to_catalogue": "catalogue"}
        stage = stages.get(row.state(self.source.rule_digest)) if row else None
        if row is None or stage is None:
            return
        version = blob(name, row.etag)
        if outcome != "done":
            failure = Failure(name, row.etag, "bad", "bad", permanent=outcome == "permanent")
            self.database.blobs.record_failures(self.source, [failure], stage=stage, run_id=None)
            digest = "" if stage == "describe" else self.source.rule_digest
            row.refused = (row.etag, stage, digest) if outcome == "permanent" else None
        elif stage == "describe":
            self.database.blobs.record_described(self.source.name, [(version, METADATA)], run_id=None)
            row.described = row.etag
        else:
            mark(self.database, self.source, [version], run_id=None)
            row.catalogued, row.refused = (row.etag, self.source.rule_digest), None

    @precondition(lambda self: self.rows)
    @rule(item_id=st.sampled_from(["{slug}", "v2-{slug}"]))
    def change_rule(self, item_id: str) -> None:
        """Edit the source's rule."""
        self.source = self.source.model_copy(update={"item_id": item_id})
        self.database.sources.register(self.source)

    @invariant()
    def the_ledger_says_the_same(self) -> None:
        """Each blob is in the state it should be in, and the counts add up."""
        expected = {name: row.state(self.source.rule_digest) for name, row in self.rows.items()}
        with self.database.connections.connect() as connection:
            found: list[dict[str, Any]] = connection.execute(
                "SELECT name, state FROM ledger.blob_state WHERE source = %s", (self.source.name,)
            ).fetchall()
        assert {row["name"]: row["state"] for row in found} == expected
        status = self.database.blobs.status(self.source.name)
        assert status.blobs == status.catalogued + status.pending + status.quarantined
        assert status.blobs + status.deleted == len(expected)


def test_any_sequence_leaves_the_ledger_as_it_should_be(catalogue: str) -> None:
    class OnThisDatabase(LedgerMachine):
        def __init__(self) -> None:
            super().__init__(Database(database_url=catalogue))

    run_state_machine_as_test(
        OnThisDatabase,
        settings=settings(
            max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
