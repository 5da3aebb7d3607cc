"""The census: blobs and items of a source compared both ways, and repairing what disagrees.

Here: finding it in the database, and putting it right there: a blob becomes pending again, an orphaned item leaves
the catalogue. Not here: reading headers, and what Dagster shows of it (`geo_assets.assets.census`).
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import itemgetter
from typing import Literal, get_args

from geo_assets.catalogue.items import Item
from geo_assets.errors import DeletionsHeld
from geo_assets.ledger.database import Connections, read_sql
from geo_assets.models import BlobRef
from geo_assets.postgres.locks import Lock, holding
from geo_assets.sources.source import Source

Kind = Literal["missing", "pending", "orphan", "former", "unclaimed", "going", "held", "in_grace", "duplicate", "stale"]
KINDS: tuple[Kind, ...] = get_args(Kind)
WRONG: tuple[Kind, ...] = ("missing", "orphan", "former", "unclaimed", "duplicate", "stale")
"""What no run repairs; the other kinds wait for the next run, for their grace period, or for approval."""
_WITHDRAWN: tuple[Kind, ...] = ("orphan", "unclaimed", "duplicate")


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A blob and an item that disagree: ``name`` is the blob's, None where an item names none.

    ``written_by``: who wrote an unclaimed item through the API, None if it came another way.
    """

    kind: Kind
    name: str | None
    collection_id: str | None
    item_id: str | None
    written_by: str | None = None


@dataclass(frozen=True, slots=True)
class CensusReport:
    """What a census found: ``counts`` of each kind, and the first findings of each.

    missing: catalogued, but without an item or, of a vector file, without one of its items or tables. pending:
    work is left. orphan: an item of the source that no blob owns. former: one in its collection of a source that is no
    longer declared. unclaimed: an item in its collection that no source made. going: an item that the next run
    removes because its blob is gone or refused. held, in_grace: likewise, but it waits for approval or for its time.
    duplicate: one of several items of a blob or of an id. stale: an item of another version, or of another blob, than
    its own.
    """

    source: str
    counts: Mapping[Kind, int]
    findings: Sequence[Disagreement] = field(repr=False)

    @property
    def green(self) -> bool:
        """Whether every blob has its item, its reason or its turn, and every item its blob, or a reason to stay."""
        return not any(self.counts[kind] for kind in WRONG)

    def names(self, *kinds: Kind) -> list[str]:
        """The blobs of the findings of these kinds."""
        return sorted({found.name for found in self.findings if found.kind in kinds and found.name})

    def unclaimed(self) -> dict[str, str | None]:
        """Who wrote each unclaimed item, by the item's id."""
        return {
            found.item_id: found.written_by for found in self.findings if found.kind == "unclaimed" and found.item_id
        }


MemberKind = Literal["raster", "document", "other"]


@dataclass(frozen=True, slots=True)
class Sample:
    """A catalogued blob and its items, of which it has several where it is a vector file with several layers.

    Of a scene it is the ``member`` by that name (None: no scene) and of that ``kind``, and the item is the scene's.
    """

    blob: BlobRef
    items: Sequence[Item]
    member: str | None
    kind: MemberKind


@dataclass(frozen=True, slots=True)
class Census:
    """Compares the ledger's blobs with PgSTAC's items."""

    connections: Connections

    def take(
        self,
        source: str,
        *,
        collection_id: str | None = None,
        declared: Collection[str] | None = None,
        most: int = 20,
    ) -> CensusReport:
        """Compare blobs and items of ``source``; up to ``most`` findings of each kind.

        ``collection_id`` is the collection that is declared for it, which counts before its first run; ``declared`` are
        the names of the sources there are (None: all that the ledger knows).
        """
        names = None if declared is None else list(declared)
        rows = self.connections.rows(
            "select_findings", source=source, collection_id=collection_id, declared=names, most=most
        )
        totals = {row["kind"]: row["total"] for row in rows}
        return CensusReport(
            source=source,
            counts={kind: totals.get(kind, 0) for kind in KINDS},
            findings=self._with_writers(
                [Disagreement(row["kind"], row["name"], row["collection_id"], row["item_id"]) for row in rows]
            ),
        )

    def sample(self, source: Source, *, most: int, but: Collection[str] = ()) -> list[Sample]:
        """Up to ``most`` catalogued blobs of ``source`` but these, at random and in random order, with their items."""
        bound = {"source": source.name, "reading": source.reading_digest, "most": most, "but": list(but)}
        rows = self.connections.rows("sample_items", **bound)
        samples = []
        for _, group in groupby(rows, key=itemgetter("name")):
            own = list(group)
            items = [row.pop("item") for row in own]
            first = own[0]
            samples.append(
                Sample(items=items, member=first.pop("member"), kind=first.pop("kind"), blob=BlobRef(**first))
            )
        return samples

    def mend(
        self, source: Source, report: CensusReport, *, misread: Iterable[str] = (), consent: bool = False
    ) -> dict[str, int]:
        """Put right what ``report`` names; how many blobs are pending again, and how many items were removed.

        ``misread`` are blobs that say other than their items or tables. Items of blobs that the ledger knows to be gone
        are the next run's. Raises DeletionsHeld if more orphaned items would be removed than the source allows without
        ``consent``.
        """
        again = report.names("missing", "stale", "duplicate")
        unowned = [found for found in report.findings if found.kind in _WITHDRAWN and found.item_id]
        if not consent:
            self._check_few(source, report, items=self.connections.row("count_deletions", source=source.name)["items"])
        misread = sorted(set(misread))
        with (
            self.connections.connect() as connection,
            holding(connection, Lock.COLLECTION, source.collection.id),
            connection.transaction(),
        ):
            connection.execute(read_sql("unmark_catalogued"), {"source": source.name, "names": again})
            connection.execute(read_sql("unmark_untabled"), {"source": source.name, "names": again})
            for statement in ("unmark_described", "unmark_catalogued"):  # the second for what is never read itself
                connection.execute(read_sql(statement), {"source": source.name, "names": misread})
            connection.execute(read_sql("release_lost_claims"), {"source": source.name})
            withdrawn = connection.execute(read_sql("delete_unclaimed_items"), _ids(unowned)).rowcount
        return {"to_catalogue": len(again), "to_describe": len(misread), "withdrawn": withdrawn}

    def _with_writers(self, findings: list[Disagreement]) -> list[Disagreement]:
        unclaimed = [found for found in findings if found.kind == "unclaimed"]
        if not unclaimed:
            return findings
        writers = {
            (row["collection_id"], row["item_id"]): row["written_by"]
            for row in self.connections.rows("select_writers", **_ids(unclaimed))
        }
        return [replace(found, written_by=writers.get((found.collection_id, found.item_id))) for found in findings]

    @staticmethod
    def _check_few(source: Source, report: CensusReport, *, items: int) -> None:
        orphans, unclaimed = report.counts["orphan"], report.counts["unclaimed"]
        going, rule = orphans + unclaimed, source.deletions
        if going <= rule.min_count or going <= rule.max_share * items:
            return
        raise DeletionsHeld(
            f"{orphans:,} items of {source.name} belong to no blob in the ledger, which has {items:,} items. "
            f"{unclaimed:,} items in collection {source.collection.id} were made by no source"
            f"{_written_by(report)}. None was removed.",
            remedy="List the source first, so that the ledger has its blobs; then run "
            f"`geo-assets repair {source.name} --approve`.",
        )


def _written_by(report: CensusReport) -> str:
    writers = Counter(found.written_by or "unknown" for found in report.findings if found.kind == "unclaimed")
    said = ", ".join(f"{writer} {number:,}" for writer, number in writers.most_common(5))
    return f" (written by: {said})" if said else ""


def _ids(findings: Sequence[Disagreement]) -> dict[str, list[str | None]]:
    return {
        "collection_ids": [found.collection_id for found in findings],
        "item_ids": [found.item_id for found in findings],
    }
