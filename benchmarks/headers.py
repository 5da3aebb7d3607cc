"""Reading headers at the speed of the store: our reader against bare ranged GETs, near and 30 ms away."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from obstore.store import AzureStore
from pydantic import SecretStr

from benchmarks.latency_proxy import running_latency_proxy
from benchmarks.result import BenchmarkFailed, Result, Target, at_least, ratio
from benchmarks.world import SOURCE, Context, azure_store, interleaved, source_rule
from geo_assets.errors import GeoAssetsError
from geo_assets.models import BlobRef
from geo_assets.raster.io import BLOCK_BYTES
from geo_assets.raster.reader import read_headers
from geo_assets.settings import Settings
from geo_assets.sources.source import Source
from geo_assets.storage.blob_stores import open_store, store_access
from tests.services import Azurite

NAMES = ("headers_vs_raw_get", "headers_vs_raw_get_30ms", "latency_30ms_speedup")
LATENCY_MS = 30
ROUNDS = 3


def run(context: Context) -> list[Result]:
    """The three figures, on one container."""
    container = context.corpus(context.size(1_000, quick=500))
    near = _Place.at(context.azurite, container)
    results = [_against_raw(NAMES[0], near, target=at_least(0.7))]
    with running_latency_proxy(("127.0.0.1", context.azurite.port), latency_ms=LATENCY_MS) as port:
        far = _Place.at(replace(context.azurite, port=port), container)
        results.append(_against_raw(NAMES[1], far, target=at_least(0.8)))
        results.append(_speedup(NAMES[2], far, one_at_a_time=context.size(200, quick=30)))
    return results


@dataclass(frozen=True, slots=True)
class _Place:
    """A container, reached straight or through the proxy, and what lies in it."""

    source: Source
    settings: Settings
    raw_store: AzureStore
    blobs: tuple[BlobRef, ...]

    @classmethod
    def at(cls, azurite: Azurite, container: str) -> "_Place":
        """The container at the address ``azurite`` says, with the settings a user has by default."""
        source = Source.model_validate({"name": SOURCE, **source_rule(f"az://{container}")})
        settings = Settings(azure_connection_string=SecretStr(azurite.connection_string), _env_file=None)
        with open_store(source, settings) as store:
            blobs = tuple(blob for page in store.list_pages("") for blob in page)
        return cls(source, settings, azure_store(azurite.account_url, container), blobs)

    def read_headers(self) -> float:
        """Headers a second by our reader."""
        return _rate(lambda: _read(self.source, self.blobs, self.settings), self.blobs)

    def read_one_at_a_time(self, most: int) -> float:
        """Headers a second by our reader with one worker and one request in flight."""
        settings = self.settings.model_copy(update={"workers": 1, "read_concurrency": 1})
        return _rate(lambda: _read(self.source, self.blobs[:most], settings), self.blobs[:most])

    def get_raw(self) -> float:
        """Blobs a second by bare GETs, as many in flight as one of our workers may have."""
        concurrency = self.settings.read_concurrency
        return _rate(lambda: asyncio.run(_get(self.raw_store, self.blobs, concurrency=concurrency)), self.blobs)


def _against_raw(name: str, place: _Place, *, target: Target) -> Result:
    place.read_headers()  # its workers are there now, as they are in all but the first moment of a run
    ours, peer = interleaved(ROUNDS, place.read_headers, place.get_raw)
    return ratio(name, ours=ours, peer=peer, unit="headers/s", target=target)


def _speedup(name: str, place: _Place, *, one_at_a_time: int) -> Result:
    place.read_one_at_a_time(1)
    ours, peer = interleaved(2, place.read_headers, lambda: place.read_one_at_a_time(one_at_a_time))
    return ratio(name, ours=ours, peer=peer, unit="headers/s")


def _rate(work: Callable[[], None], blobs: Sequence[BlobRef]) -> float:
    began = time.perf_counter()
    work()
    return len(blobs) / (time.perf_counter() - began)


def _read(source: Source, blobs: Sequence[BlobRef], settings: Settings) -> None:
    for reading in read_headers(source, blobs, access=partial(store_access, source, settings), settings=settings):
        if isinstance(reading.result, GeoAssetsError):
            raise BenchmarkFailed(f"{reading.blob.name}: {reading.result}")


async def _get(store: AzureStore, blobs: Sequence[BlobRef], *, concurrency: int) -> None:
    """The first 64 KiB of each blob, and nothing done with them."""
    waiting = iter(blobs)

    async def take() -> None:
        for blob in waiting:
            await store.get_range_async(blob.name, start=0, end=min(BLOCK_BYTES, blob.size_bytes))

    await asyncio.gather(*(take() for _ in range(concurrency)))
