"""What geo_assets asks of a blob store: list, look at one blob, read a range of
one version or a sidecar, and give an address.

Here: the Protocol every store fulfils. Not here: the stores (`local_blob_store`, `azure_blob_store`).
"""

from collections.abc import Iterator
from typing import Protocol

from geo_assets.models import BlobPage, BlobRef


class BlobStore(Protocol):
    """A container (or a folder) that can be listed and read."""

    def list_pages(self, prefix: str, *, marker: str | None = None) -> Iterator[BlobPage]:
        """Every blob whose name starts with ``prefix``, page by page; after ``marker``, where a page gave one.

        Raises StorageUnavailable, Unauthorized, MarkerRefused or InvalidConfiguration (no such container);
        never ends early without raising.
        """
        ...

    def list_level(self, prefix: str) -> Iterator[str]:
        """The names one level below ``prefix`` ("" or ending with a slash): blobs, and folders with a slash.

        Raises what `list_pages` raises.
        """
        ...

    def head(self, name: str) -> BlobRef | None:
        """The blob ``name`` as it is now, as a listing shows it but for its sidecars; None where there is none.

        Raises StorageUnavailable, Unauthorized, InvalidConfiguration (no such container).
        """
        ...

    def read_range(self, blob: BlobRef, offset: int, length: int) -> bytes:
        """``length`` bytes at ``offset`` of this version of the blob, fewer only at its end.

        Raises BlobChanged where the blob has another etag by now, BlobMissing where it is gone,
        StorageUnavailable, Unauthorized.
        """
        ...

    def read_sidecar(self, name: str, most: int) -> bytes | None:
        """The first ``most`` bytes of the blob ``name`` as it is now; None where there is none.

        Raises StorageUnavailable, Unauthorized.
        """
        ...

    def href(self, name: str) -> str:
        """The address that readers of the catalogue use for the blob."""
        ...
