"""Sources in the ledger: place and rule, why one could not be looked at, runs asked for, and whose turn it is.

Here: the tables that have one row a source; and the turn of a run, for one run at a time works on a source, whatever
Dagster's instance lets run at once. Not here: what is declared (`geo_assets.sources`), sources that no longer are
(`geo_assets.catalogue.handover`), a source's blobs (`ledger.blobs`), and how long a process keeps a turn
(`geo_assets.resources.database`).

All processes of a run share the source's lock, each by a session of its own that is named after the run, so another run
sees whose turn it is. PostgreSQL releases it when the last of them ends, however it ends.
"""

import time
from dataclasses import asdict, dataclass
from datetime import UTC

from geo_assets.errors import SourceBusy
from geo_assets.ledger.database import Connection, Connections, read_sql
from geo_assets.models import AskedRun, Request
from geo_assets.postgres.locks import Lock, holders, holding, take, take_until_end
from geo_assets.sources.source import Source
from geo_assets.sources.trouble import Trouble

PATIENCE_SECONDS = 10.0
"""How long a run waits for its turn: a run that was killed releases it within less."""
_PAUSE_SECONDS = 0.5
_NAMED = "geo_assets run "
_SESSION = (
    "SELECT set_config('application_name', %s, false), set_config('tcp_keepalives_idle', '30', false), "
    "set_config('tcp_keepalives_interval', '10', false), set_config('tcp_keepalives_count', '3', false)"
)
"""Names the session, and has the server miss within a minute a host that went without a word."""


@dataclass(frozen=True, slots=True)
class SourceLedger:
    """The sources that the ledger knows."""

    connections: Connections

    def register(self, source: Source) -> None:
        """Record the source's place and rule, which the states of its blobs depend on."""
        bound = {
            "source": source.name,
            "url": source.url,
            "collection_id": source.collection.id,
            "rule_digest": source.rule_digest,
            "reading_digest": source.reading_digest,
            "required_assets": list(source.group.required) if source.group else [],
            "deletion_grace": source.deletions.grace,
        }
        with self.connections.borrow() as connection, connection.transaction():
            if connection.execute(read_sql("select_registered_collection"), bound).fetchone() is None:
                take_until_end(connection, Lock.OWNERSHIP, source.collection.id)  # waits for writes of the API to it
            connection.execute(read_sql("register_source"), bound)

    def troubles(self) -> dict[str, Trouble]:
        """The sources that could not be looked at when they last were, with what is known of it."""
        return {row.pop("source"): Trouble(**row) for row in self.connections.rows("select_source_troubles")}

    def record_trouble(self, source: str, trouble: Trouble) -> None:
        """Remember that ``source``, which is registered, could not be looked at."""
        with self.connections.borrow() as connection:
            connection.execute(read_sql("store_source_trouble"), {"source": source, **asdict(trouble)})

    def clear_trouble(self, source: str) -> None:
        """Forget it: ``source`` could be looked at, or listed."""
        with self.connections.borrow() as connection:
            connection.execute(read_sql("delete_source_trouble"), {"source": source})

    def run_requests(self, source: str | None = None) -> dict[str, AskedRun]:
        """The runs that sensors last asked for, by source: of ``source``, or of all."""
        return {
            row.pop("source"): AskedRun(row.pop("sensor"), row.pop("run_key"), Request(**row))
            for row in self.connections.rows("select_run_requests", source=source)
        }

    def record_run_request(self, source: str, asked: AskedRun, *, after: AskedRun | None) -> bool:
        """Remember that a run of ``source``, which is registered, is asked for; whether it is this sensor's to ask.

        It is not if another request than ``after`` was recorded last: another sensor asked meanwhile.
        """
        bound = {"sensor": asked.sensor, "run_key": asked.run_key, **asdict(asked.request)}
        previous_at = after.request.at if after else None
        return bool(self.connections.rows("record_run_request", source=source, **bound, previous_at=previous_at))


def take_turn(connection: Connection, source: str, *, run_id: str) -> None:
    """Have the run work on the source for as long as ``connection`` is open, beside its other processes.

    Raises SourceBusy where another run still works on it after `PATIENCE_SECONDS`.
    """
    connection.execute(_SESSION, (_NAMED + run_id,))
    over = time.monotonic() + PATIENCE_SECONDS
    while True:
        with holding(connection, Lock.SOURCE_GATE, source):
            others = [each for each in holders(connection, Lock.SOURCE, source) if each.name != _NAMED + run_id]
            if not others:
                take(connection, Lock.SOURCE, source, shared=True)
                return
        if time.monotonic() >= over:
            break
        time.sleep(_PAUSE_SECONDS)
    first = others[0]
    who = f"run {first.name.removeprefix(_NAMED)}" if first.name else "another run"
    since = f" since {first.since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if first.since else ""
    raise SourceBusy(f"{who} has been working on source {source}{since}.")
