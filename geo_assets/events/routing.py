"""Which sources an event concerns, and what there is to be looked at for it.

Here: account, container, prefix and globs, as a listing has them. Not here: what a message says (`events`), looking
(`geo_assets.storage.container_look`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from geo_assets.events.blob_events import BlobEvent, Dropped
from geo_assets.sources.source import Source
from geo_assets.storage.listing import build_matcher
from geo_assets.storage.sidecars import is_sidecar, places_rasters
from geo_assets.storage.zarr_stores import is_store_part, tells_version

_REASONS = ("wrong_account", "wrong_container", "wrong_prefix", "not_included", "in_store", "sidecar", "limited_source")
"""Why an event concerns no source, the one that came nearest last."""


@dataclass(frozen=True, slots=True)
class Look:
    """A name to look at in the container of a source: a blob, a sidecar for the rasters that it places, or a part of a
    Zarr store for what stands for it."""

    source: str
    name: str


class EventRouter:
    """Finds the sources of events; ``account`` is the storage account that holds every az:// source."""

    def __init__(self, sources: Mapping[str, Source], *, account: str) -> None:
        self._account = account.lower()
        self._sources = [source for source in sources.values() if source.container]
        self._matchers = {source.name: build_matcher(source) for source in self._sources}

    def route(self, event: BlobEvent) -> tuple[Look, ...] | Dropped:
        """What to look at; where the event concerns no source, the reason of the source that came nearest.

        A source with a limit takes no events: which blobs it has follows from the whole of its listing only.
        """
        looks: list[Look] = []
        nearest = "wrong_account" if event.account != self._account else "wrong_container"
        for source in self._sources if event.account == self._account else ():
            reason = self._refusal(source, event)
            if reason is None:
                looks.append(Look(source.name, event.name))
            else:
                nearest = max(nearest, reason, key=_REASONS.index)
        if looks:
            return tuple(looks)
        return Dropped(nearest, f"event {event.event_id} is of {event.name} in {event.container} of {event.account}")

    def matcher(self, source: str) -> Callable[[str], bool]:
        """The predicate on names of the blobs of ``source``."""
        return self._matchers[source]

    def _refusal(self, source: Source, event: BlobEvent) -> str | None:
        if source.container != event.container:
            return "wrong_container"
        if not event.name.startswith(source.prefix):
            return "wrong_prefix"
        if is_store_part(event.name):
            return None if tells_version(event.name) and source.limit is None else "in_store"
        if is_sidecar(event.name) and not places_rasters(event.name):
            return "sidecar"
        if not is_sidecar(event.name) and not self._matchers[source.name](event.name):
            return "not_included"
        return "limited_source" if source.limit is not None else None
