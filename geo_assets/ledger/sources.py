"""Sources in the ledger: their place and rule, why one could not be looked at, and the runs asked for.

Here: the tables that have one row a source. Not here: what is declared (`geo_assets.sources`), sources that no longer
are (`geo_assets.catalogue.handover`), and a source's blobs (`ledger.blobs`).
"""

from dataclasses import asdict, dataclass

from geo_assets.ledger.database import Connections
from geo_assets.ledger.statements import read_sql
from geo_assets.models import AskedRun, Request
from geo_assets.postgres.locks import Lock, take_until_end
from geo_assets.sources.source import Source
from geo_assets.sources.trouble import Trouble


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
