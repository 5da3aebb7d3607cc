"""Sources that sources.yaml no longer declares: handing what they have over to another source, or withdrawing it.

Here: finding them, and both ways out. Not here: when a listing hands over (`assets.container_listing`), the rule by
which deletions wait (`ledger.decisions`). docs/decisions/0028-former-sources.md says why.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from geo_assets.catalogue.items import delete_items, hold_collection
from geo_assets.errors import CatalogueRefusal, DeletionsHeld, InvalidConfiguration
from geo_assets.ledger.database import Connection, Connections, read_sql
from geo_assets.sources.source import Place, Source


@dataclass(frozen=True, slots=True)
class FormerSource:
    """A source that is no longer declared, and how many items and tables it left in the catalogue."""

    source: str
    url: str
    collection_id: str
    items: int
    tables: int


@dataclass(frozen=True, slots=True)
class SourceHandover:
    """How sources leave the catalogue."""

    connections: Connections

    def former_sources(self, declared: Collection[str]) -> list[FormerSource]:
        """The sources that are not ``declared`` and still have items or tables."""
        return [FormerSource(**row) for row in self.connections.rows("select_former_sources", declared=list(declared))]

    def former_source(self, name: str, declared: Collection[str]) -> FormerSource:
        """The one called ``name``. Raises InvalidConfiguration where it is declared, or left nothing."""
        for former in self.former_sources(declared):
            if former.source == name:
                return former
        said = "is declared in sources.yaml" if name in declared else "left no items and no tables"
        raise InvalidConfiguration(f"Source {name} {said}.", remedy="List former sources with `geo-assets orphans`.")

    def former_items(self, name: str, *, most: int) -> list[dict[str, str]]:
        """Up to ``most`` items of a source, as collection_id, item_id and the name of the blob or scene."""
        return [dict(row) for row in self.connections.rows("select_items_of_former", source=name, most=most)]

    def has_to_take_over(self, source: Source, declared: Mapping[str, Source]) -> bool:
        """Whether the next listing of ``source`` takes something over from a source that is not ``declared``."""
        formers = self._formers(source, declared)
        if not formers:
            return False
        whole = [name for name, url in formers.items() if source.limit is None and _is_heir(source, url, declared)]
        return bool(
            self.connections.row("has_to_take_over", source=source.name, formers=list(formers), whole=whole)["has_work"]
        )

    def take_over(self, source: Source, declared: Mapping[str, Source], *, complete: bool) -> int:
        """Take blobs of ``source`` over from sources that are not ``declared``, with all that is known of them.

        Call it after a listing and after grouping. If the source was only renamed, and the listing was ``complete``, it
        takes over what is gone as well, and judges that as its own deletions. Returns the number of blobs.
        """
        return sum(
            self._hand_over(source, name, whole=complete and _is_heir(source, url, declared))
            for name, url in self._formers(source, declared).items()
        )

    def adopt(self, source: Source, former: FormerSource) -> int:
        """Take over all that ``former`` has; what the registered ``source`` has not counts as deleted.

        Raises InvalidConfiguration where the blobs of ``former`` lie elsewhere.
        """
        theirs, ours = Place.of(former.url), Place.of(source.url)
        if not theirs.is_within(ours):
            raise InvalidConfiguration(
                f"{former.url}, where the blobs of {former.source} lie, is not in {source.url}.",
                remedy="Name a source that has this location, or remove the items with `--remove --approve`.",
            )
        return self._hand_over(source, former.source, whole=True)

    def withdraw_former(self, former: FormerSource, declared: Mapping[str, Source], *, consent: bool) -> int:
        """Remove the items of ``former``, and what the ledger has of its blobs. Returns the number of items.

        Its tables have no claim afterwards, for `VectorTables.drop_unclaimed`. Raises DeletionsHeld without
        ``consent``, and CatalogueRefusal where the collection is protected.
        """
        if any(
            source.collection.protected and source.collection.id == former.collection_id for source in declared.values()
        ):
            raise CatalogueRefusal(
                f"Collection {former.collection_id} is protected.", remedy="Remove `protected` from it in sources.yaml."
            )
        if not consent:
            raise DeletionsHeld(
                f"{former.items:,} items and {former.tables:,} tables of {former.source} would be removed.",
                remedy=f"If intended, run `geo-assets orphans {former.source} --remove --approve`; otherwise declare "
                "the source again, or adopt them.",
            )
        with self.connections.connect() as connection, connection.transaction():
            self._hold(connection, self._collections(former.source))
            released = connection.execute(read_sql("release_all_claims"), {"source": former.source}).fetchall()
            delete_items(connection, former.source, released)
            connection.execute(read_sql("delete_blobs_of"), {"source": former.source})
        return len(released)

    def forget_source(self, name: str) -> None:
        """Forget a source that has no blobs any more, unless it still has tables."""
        with self.connections.borrow() as connection:
            connection.execute(read_sql("delete_source"), {"source": name})

    def _formers(self, source: Source, declared: Mapping[str, Source]) -> dict[str, str]:
        """The URLs of the sources that are not declared and have the place of ``source``, by name."""
        ours = Place.of(source.url)
        rows = self.connections.rows("select_undeclared_sources", declared=[*declared, source.name])
        return {row["source"]: row["url"] for row in rows if Place.of(row["url"]).overlaps(ours)}

    def _hand_over(self, source: Source, former: str, *, whole: bool) -> int:
        bound = {"source": source.name, "former": former, "whole": whole}
        with self.connections.connect() as connection, connection.transaction():
            self._hold(connection, [source.collection.id, *self._collections(former)])
            connection.execute(read_sql("create_handed_over"))
            connection.execute(read_sql("choose_handed_over"), bound)
            for statement in (
                "forget_metadata_not_current",
                "hand_over_live_blobs",
                "hand_over_gone_blobs",
                "hand_over_belongings",
                "hand_over_items",
            ):
                connection.execute(read_sql(statement), bound)
            moved = connection.execute(read_sql("delete_handed_over"), bound).rowcount
            if (
                moved
                and not connection.execute(read_sql("select_items_of_former"), {"source": former, "most": 1}).fetchall()
            ):
                connection.execute(read_sql("delete_blobs_of"), {"source": former})
                connection.execute(read_sql("delete_source"), {"source": former})
        return moved

    @staticmethod
    def _hold(connection: Connection, collection_ids: Iterable[str]) -> None:
        for collection_id in sorted(
            set(collection_ids)
        ):  # in one order, so that two of these never wait for each other
            hold_collection(connection, collection_id)

    def _collections(self, source: str) -> Sequence[str]:
        return [row["collection_id"] for row in self.connections.rows("select_collections_of", source=source)]


def _is_heir(source: Source, url: str, declared: Mapping[str, Source]) -> bool:
    """Whether ``source`` is the former one by another name: of the same place, of which no other source has a part."""
    others = [Place.of(other.url) for name, other in declared.items() if name != source.name]
    place = Place.of(url)
    return place == Place.of(source.url) and not any(place.overlaps(other) for other in others)
