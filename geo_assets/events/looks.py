"""Which sources an event concerns, and the looks for a batch of events: at all sources side by side, within their time.

A store that does not answer, a name that it fails on and a Zarr store of a million chunks cost themselves only. Here:
account, container, prefix and globs, as a listing has them; threads, the time, and whether a store is down or a name
bad. Not here: what a message says (`blob_events`), the requests of one look (`geo_assets.storage.container_look`), what
happens to the messages (`observer`).
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from threading import Event, Lock

from geo_assets.errors import GeoAssetsError, StorageUnavailable
from geo_assets.events.blob_events import BlobEvent, Dropped
from geo_assets.models import BlobRef
from geo_assets.sources.source import Source
from geo_assets.storage.blob_store import SHORT_PATIENCE, BlobStore
from geo_assets.storage.blob_stores import Stores
from geo_assets.storage.container_look import TooMuchForALook, by_stem, group_names, look_at
from geo_assets.storage.listing import build_matcher
from geo_assets.storage.related_blobs import is_sidecar, is_store_part, places_rasters, store_folder, tells_version
from geo_assets.workers.daemon_threads import Errand, collect, start

_REASONS = ("wrong_account", "wrong_container", "wrong_prefix", "not_included", "in_store", "sidecar", "limited_source")
"""Why an event concerns no source, the one that came nearest last."""


@dataclass(frozen=True, slots=True)
class Look:
    """A name to look at in the container of a source: a blob, a sidecar for the rasters that it places, or a part of a
    Zarr store for the blob that represents it."""

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


LOOKS_AT_ONCE = 8
"""Requests to one store at a time: as many connections as the SDK keeps open, with room to spare."""
LOOK_SECONDS = 9.0
"""How long a batch waits for its looks: a store that answers has answered a hundred of them by then."""
STORE_SECONDS = 4.0
"""How long one Zarr store, or all that has one stem, is listed for."""
_NOWHERE = "geo_assets asks whether this store answers"

Sight = Sequence[tuple[str, BlobRef | None]]


@dataclass(slots=True)
class Looked:
    """What was seen: ``found`` by look; why a store or a name ``failed``; and what is ``left`` to a listing, for it is
    too much for a look. ``down`` are the sources whose store answered nothing."""

    found: dict[Look, Sight] = field(default_factory=dict)
    failed: dict[Look, GeoAssetsError] = field(default_factory=dict)
    left: set[Look] = field(default_factory=set)
    down: set[str] = field(default_factory=set)


def look_at_all(looks: Iterable[Look], *, sources: Mapping[str, Source], blob_stores: Stores) -> Looked:
    """Look at each of them once, for `LOOK_SECONDS` at most; every one is found, failed or left."""
    by_source: dict[str, list[str]] = defaultdict(list)
    for look in looks:
        by_source[look.source].append(look.name)
    until = time.monotonic() + LOOK_SECONDS
    under_way = [_SourceLook(sources[name], names, until=until) for name, names in sorted(by_source.items())]
    errands = [
        Errand.begin(partial(each.run, blob_stores), name=f"look-{each.source.name}", seconds=LOOK_SECONDS)
        for each in under_way
    ]
    ended, _ = collect(errands, seconds=until - time.monotonic())
    for errand in ended:
        errand.future.result()  # what nobody foresaw is the batch's trouble
    looked = Looked()
    for each in under_way:
        each.end(looked)
    return looked


class _SourceLook:
    """The checks of one source: groups of names that several threads take in turn, in smaller ones if need be."""

    def __init__(self, source: Source, names: Sequence[str], *, until: float) -> None:
        self.source = source
        self._names = names
        self._until = until
        self._lock = Lock()
        self._asking = Lock()
        self._groups: SimpleQueue[Sequence[str] | None] = SimpleQueue()
        self._open_groups = 0
        self._working: list[Future[None]] = []
        self._all_done = Event()
        self._answers: dict[str, Sight | GeoAssetsError | TooMuchForALook] = {}
        self._store_answered = False
        self._down: GeoAssetsError | None = None

    def run(self, blob_stores: Stores) -> None:
        """Look until all is answered or the time is over; requests that hang go on, and their answers are dropped."""
        groups = group_names(self._names)
        self._open_groups = len(groups)
        for group in groups:
            self._groups.put(group)
        try:
            with blob_stores.open(self.source, patience=SHORT_PATIENCE) as store:
                with self._lock:
                    self._have_hands(store)
                self._all_done.wait(max(0.0, self._until - time.monotonic()))
                for _ in range(LOOKS_AT_ONCE):
                    self._groups.put(None)
        except GeoAssetsError as error:
            self._fail(self._names, error)
            return
        for each in list(self._working):
            if each.done():
                each.result()

    def end(self, looked: Looked) -> None:
        """Put what is known by now into ``looked``."""
        with self._lock:
            answers = dict(self._answers)
        unanswered = self._down or StorageUnavailable(
            f"The store of {self.source.name} did not answer within {LOOK_SECONDS:.0f} s."
        )
        if not self._store_answered:
            looked.down.add(self.source.name)
        for name in self._names:
            look = Look(self.source.name, name)
            answer = answers.get(name, unanswered)
            # A store that answers, only not in time for this Zarr store: the next look would find it as large.
            in_large_store = name not in answers and self._store_answered and bool(store_folder(name))
            if isinstance(answer, TooMuchForALook) or in_large_store:
                looked.left.add(look)
            elif isinstance(answer, GeoAssetsError):
                looked.failed[look] = answer
            else:
                looked.found[look] = answer

    def _have_hands(self, store: BlobStore) -> None:
        """A thread a group, up to `LOOKS_AT_ONCE`: a name that is asked for again and again keeps one of them only."""
        while len(self._working) < min(LOOKS_AT_ONCE, self._open_groups):
            self._working.append(start(partial(self._work, store), name=f"look-{self.source.name}"))

    def _work(self, store: BlobStore) -> None:
        while time.monotonic() < self._until and (group := self._groups.get()) is not None:
            smaller = self._look(store, group)
            for each in smaller:
                self._groups.put(each)
            with self._lock:
                self._open_groups += len(smaller) - 1
                self._have_hands(store)
                if not self._open_groups:
                    self._all_done.set()

    def _look(self, store: BlobStore, group: Sequence[str]) -> list[list[str]]:
        """Look at one group; the smaller ones that it has to be looked at in."""
        if self._down is not None:
            self._fail(group, self._down)
            return []
        try:
            found, smaller = look_at(store, group, until=min(self._until, time.monotonic() + STORE_SECONDS))
        except TooMuchForALook as error:
            self._store_answered = True
            self._answer(dict.fromkeys(group, error))
            return []
        except GeoAssetsError as error:
            self._ask_whether_down(store)
            if self._down is None and len(alone := by_stem(group)) > 1:
                return alone
            self._fail(group, self._down or error)
            return []
        self._store_answered = True
        self._answer(found)
        return smaller

    def _ask_whether_down(self, store: BlobStore) -> None:
        """Is it the store, or one of these names? Ask for a name that does not exist, which depends on none of them."""
        with self._asking:
            if self._down is None and not self._store_answered:
                try:
                    next(iter(store.list_level(f"{self.source.prefix}{_NOWHERE}")), None)
                    self._store_answered = True
                except GeoAssetsError as error:
                    self._down = error

    def _fail(self, names: Sequence[str], error: GeoAssetsError) -> None:
        self._answer(dict.fromkeys(names, error))

    def _answer(self, answers: Mapping[str, Sight | GeoAssetsError | TooMuchForALook]) -> None:
        with self._lock:
            self._answers.update(answers)
