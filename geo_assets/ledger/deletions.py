"""Deletions in the ledger: renames among them, which of them wait and for what, and consent.

Here: what happens between a listing that found blobs gone and the withdrawal of their items. Not here: finding them
(`ledger.listings`), withdrawing items (`pgstac`). docs/decisions/0007-deletions.md says why.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from geo_assets.errors import DeletionsHeld
from geo_assets.ledger.database import Connections
from geo_assets.ledger.statements import read_sql
from geo_assets.sources.source import Source


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """An item that goes or waits to go: ``reason`` is refused, renamed, gone, unjudged, in_grace or held."""

    name: str
    item_id: str
    reason: str
    deleted_at: datetime | None


@dataclass(frozen=True, slots=True)
class Deletions:
    """The items of a source that go or wait to go, in numbers, with the first of them.

    ``held`` await consent, ``in_grace`` the end of the source's grace period, ``due`` the next run; all are among
    the ``items`` the source has.
    """

    items: int
    held: int
    in_grace: int
    due: int
    first: Sequence[Withdrawal] = ()

    @property
    def held_share(self) -> float:
        """Which part of the source's items awaits consent, 0 to 1."""
        return self.held / self.items if self.items else 0.0


@dataclass(frozen=True, slots=True)
class DeletionLedger:
    """The part of the ledger that deletions go through."""

    connections: Connections

    def record_renames(self, source: Source, *, run_id: str | None) -> int:
        """Find new blobs that are the content of gone ones, and take over what was read of them; how many.

        Call it after a listing of the whole source. Afterwards nothing that was read of gone blobs is kept.
        """
        with self.connections.borrow() as connection, connection.transaction():
            bound = {"source": source.name, "run_id": run_id}
            row = connection.execute(read_sql("record_renames"), bound).fetchone()
            connection.execute(read_sql("forget_gone_metadata"), bound)
        assert row is not None
        return int(row["renamed"])

    def judge(self, source: Source) -> None:
        """Hold the deletions that no run has judged yet if they are more than the source's settings allow."""
        rule = source.deletions
        with self.connections.borrow() as connection:
            connection.execute(
                read_sql("judge_deletions"), {"source": source.name, "allow": rule.min_count, "most": rule.max_share}
            )

    def consent(self, source: str) -> int:
        """Approve the deletions that are held now, and no later ones; how many."""
        return int(self.connections.row("consent_to_deletions", source=source)["released"])

    def of(self, source: str, *, most: int = 0) -> Deletions:
        """Which items of ``source`` go or wait to go, with up to ``most`` of them, those that await consent first."""
        counts = self.connections.row("count_deletions", source=source)
        first = self.connections.rows("select_withdrawals", source=source, most=most) if most else []
        return Deletions(**counts, first=[Withdrawal(**row) for row in first])

    def check_none_held(self, source: Source) -> None:
        """Raise DeletionsHeld, with what would be deleted, where deletions of ``source`` await consent."""
        deletions = self.of(source.name, most=3)
        if not deletions.held:
            return
        names = ", ".join(item.name for item in deletions.first[: deletions.held])
        names += ", ..." if deletions.held > len(deletions.first) else ""
        raise DeletionsHeld(
            f"{deletions.held:,} of {deletions.items:,} items of `{source.name}` would be removed because their blobs "
            f"are gone: {names}. None was removed; all other work is done.",
            remedy=f"Check `geo-assets deletions {source.name}`. If intended, run `geo-assets deletions {source.name} "
            "--approve`; otherwise restore the blobs.",
        )
