"""Patches of items in the ledger: checking, keeping, listing and taking them away.

Here: the table ledger.item_patch. Not here: reading and merging patches (`geo_assets.stac.remarks`), making items
with them (`geo_assets.assets.stac_items`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from geo_assets.errors import InvalidItem, InvalidPatch
from geo_assets.ledger.database import Connection, Connections
from geo_assets.ledger.statements import read_sql
from geo_assets.stac.remarks import ItemPatch, apply_patch
from geo_assets.stac.schemas import ItemValidator

_AT_ONCE = 1000

NamedPatch = tuple[str, dict[str, Any]]
"""The name of a blob, or the id of a scene, and the patch of its item's properties."""


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
