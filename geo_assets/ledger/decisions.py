"""What people decide of blobs and items: another try in quarantine, consent to deletions, patches of items.

Here: blobs whose present version cannot have an item, why, and trying them again; what happens between a listing that
found blobs gone and the withdrawal of their items (renames among them, which of them wait and for what); the table
ledger.item_patch: checking, keeping, listing and taking patches away. Not here: putting a blob into quarantine
(`ledger.blobs`), finding blobs gone (`ledger.listings`), withdrawing items (`geo_assets.catalogue.pgstac`), reading and
merging patches (`geo_assets.stac.remarks`), making items with them. docs/decisions/0007-deletions.md says why deletions
wait.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from geo_assets.errors import DeletionsHeld, InvalidItem, InvalidPatch
from geo_assets.ledger.database import Connection, Connections, read_sql
from geo_assets.sources.source import Source
from geo_assets.stac.remarks import ItemPatch, apply_patch
from geo_assets.stac.schemas import ItemValidator

_AT_ONCE = 1000
NamedPatch = tuple[str, dict[str, Any]]
"""The name of a blob, or the id of a scene, and the patch of its item's properties."""


@dataclass(frozen=True, slots=True)
class QuarantineFilter:
    """Which quarantined blobs: of a source, with a code, with a name that starts so; None lets all through."""

    source: str | None = None
    code: str | None = None
    prefix: str | None = None

    def bound(self) -> dict[str, str | None]:
        """As values of a statement."""
        return {"source": self.source, "code": self.code, "prefix": self.prefix}


@dataclass(frozen=True, slots=True)
class QuarantinedBlob:
    """A blob without an item and the standing reason; ``stage`` is describe or catalogue."""

    source: str
    name: str
    code: str
    message: str
    remedy: str | None
    stage: str
    attempts: int
    failed_at: datetime
    run_id: str | None


@dataclass(frozen=True, slots=True)
class Quarantine:
    """The quarantined blobs of the ledger."""

    connections: Connections

    def blobs(self, which: QuarantineFilter, *, most: int) -> list[QuarantinedBlob]:
        """Up to ``most`` of them by source and name."""
        return [
            QuarantinedBlob(**row) for row in self.connections.rows("select_quarantined", **which.bound(), most=most)
        ]

    def counts(self, which: QuarantineFilter) -> list[tuple[str, str, int]]:
        """(source, code, blobs), the most frequent code of a source first."""
        return [
            (row["source"], row["code"], row["blobs"])
            for row in self.connections.rows("count_quarantined", **which.bound())
        ]

    def replay(self, which: QuarantineFilter) -> int:
        """Put them back to the work that is left; how many. The next run tries each once."""
        return int(self.connections.row("replay_quarantined", **which.bound())["replayed"])

    def explain(self, source: str, name: str, *, most: int = 20) -> dict[str, Any] | None:
        """The state of one blob, with up to ``most`` failed attempts at it; None if the ledger does not know it."""
        rows = self.connections.rows("select_blob_state", source=source, name=name)
        return (
            {**rows[0], "attempts": self.connections.rows("select_attempts", source=source, name=name, most=most)}
            if rows
            else None
        )


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


@dataclass(frozen=True, slots=True)
class StandingPatch:
    """A patch that is kept: of the blob or scene ``name``, whose item is ``item_id`` (None: it has none yet).

    ``pending``: the item is still to be rebuilt, as after a change of the patch.
    """

    name: str
    item_id: str | None
    patch: dict[str, Any]
    patched_at: datetime
    pending: bool


@dataclass(frozen=True, slots=True)
class ItemPatches:
    """What people state of single items."""

    connections: Connections

    def check(
        self,
        source: str,
        patches: Sequence[ItemPatch],
        *,
        validator: ItemValidator,
        progress: Callable[[int], None] = lambda _: None,
    ) -> tuple[list[NamedPatch], list[str]]:
        """The patches by what they are of, and a message for each that names nothing or makes an item invalid.

        An item that is not in the catalogue yet is checked when it is made.
        """
        accepted: dict[str, dict[str, Any]] = {}
        refused: list[str] = []
        for start in range(0, len(patches), _AT_ONCE):
            portion = patches[start : start + _AT_ONCE]
            rows = self.connections.rows(
                "select_patch_targets",
                source=source,
                blobs=[patch.blob for patch in portion],
                item_ids=[patch.item for patch in portion],
            )
            found = {row["nth"]: row for row in rows}
            for nth, patch in enumerate(portion, start=1):
                row = found.get(nth)
                if row is None:
                    refused.append(f"line {patch.line}: {source} has no {_said(patch)}.")
                elif patch.item is not None and len(row["items"]) > 1:
                    refused.append(
                        f"line {patch.line}: {_said(patch)} is one of {len(row['items'])} items of blob {row['name']}, "
                        "which share a patch. Use `blob` instead of `item`."
                    )
                elif row["name"] in accepted:
                    refused.append(f"line {patch.line}: an earlier line is of the item of {_said(patch)}, too.")
                else:
                    accepted[row["name"]] = patch.properties
                    refused += [said for item in row["items"] for said in _breaks(patch, item, validator)]
            progress(start + len(portion))
        return list(accepted.items()), refused

    def store(
        self, source: str, patches: Sequence[NamedPatch], *, progress: Callable[[int], None] = lambda _: None
    ) -> int:
        """Keep these patches, each in the place of an earlier one; how many say other than that did.

        Their items are pending again. All are kept, or none.
        """
        changed = 0
        with self.connections.borrow() as connection, connection.transaction():
            for start in range(0, len(patches), _AT_ONCE):
                portion = patches[start : start + _AT_ONCE]
                bound = {
                    "source": source,
                    "names": [name for name, _ in portion],
                    "patches": [Jsonb(properties) for _, properties in portion],
                }
                rows = connection.execute(read_sql("store_patches"), bound).fetchall()
                _reopen(connection, source, [row["name"] for row in rows])
                changed += len(rows)
                progress(start + len(portion))
        return changed

    def remove(self, source: str, names: Sequence[str] | None) -> int:
        """Remove the patches of these blobs, scenes or item ids (None: all of the source); how many.

        Raises InvalidPatch where one of ``names`` has none.
        """
        wanted = None if names is None else list(names)
        with self.connections.borrow() as connection, connection.transaction():
            bound = {"source": source, "names": wanted}
            removed = [row["name"] for row in connection.execute(read_sql("delete_patches"), bound).fetchall()]
            if wanted is not None and len(removed) < len(set(wanted)):
                raise InvalidPatch(
                    f"{len(set(wanted))} patches of {source} should go, but only {len(removed)} of them are there.",
                    remedy=f"List them with `geo-assets items patches {source}`; none was removed.",
                )
            for start in range(0, len(removed), _AT_ONCE):
                _reopen(connection, source, removed[start : start + _AT_ONCE])
        return len(removed)

    def standing(self, source: str, *, most: int) -> list[StandingPatch]:
        """Up to ``most`` patches of ``source``, by blob or scene."""
        return [StandingPatch(**row) for row in self.connections.rows("select_patches", source=source, most=most)]


def _reopen(connection: Connection, source: str, names: Sequence[str]) -> None:
    connection.execute(read_sql("reopen_patched"), {"source": source, "names": list(names)})


def _said(patch: ItemPatch) -> str:
    return f"blob {patch.blob}" if patch.blob is not None else f"item {patch.item}"


def _breaks(patch: ItemPatch, item: dict[str, Any], validator: ItemValidator) -> list[str]:
    """Why the item would not be valid with the patch."""
    try:
        validator.check(apply_patch(item, patch.properties))
    except InvalidItem as error:
        return [f"line {patch.line}: {_said(patch)} would be invalid: {error.message}"]
    return []
