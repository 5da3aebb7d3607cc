"""The files of one Zarr store in a blob store, as the core reads them.

Here: names below the store's folder made names of blobs. Not here: what is read (`raster.formats.zarr_metadata`), and
its bounds.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from geo_assets.storage.blob_store import BlobStore


@dataclass(frozen=True, slots=True)
class BlobStoreFiles:
    """What lies below ``folder`` in ``store``, as it is at that moment; fulfils `StoreFiles`."""

    store: BlobStore
    folder: str

    def read(self, name: str, most: int) -> bytes | None:
        """The first ``most`` bytes of a file, None where there is none."""
        return self.store.read_sidecar(f"{self.folder}/{name}", most)

    def folders(self, path: str) -> Iterator[str]:
        """The names of the folders in the folder ``path`` ("" the store itself)."""
        start = f"{self.folder}/{path}/" if path else f"{self.folder}/"
        for name in self.store.list_level(start):
            if name.endswith("/"):
                yield name.removeprefix(start).rstrip("/")
