"""What geo_assets asks of a blob store: list, read a range of one version, and give an address.

Here: the Protocol every store fulfils. Not here: the stores (`local_blob_store`, `azure_blob_store`).
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

from geo_assets.models import BlobRef


class BlobStore(Protocol):
    """A container (or a folder) that can be listed and read."""

    def list_pages(self, prefix: str) -> Iterator[Sequence[BlobRef]]:
        """Every blob whose name starts with ``prefix``, page by page.

        Raises StorageUnavailable, Unauthorized or InvalidConfiguration (no such container); never
        ends early without raising.
        """
        ...

    def read_range(self, blob: BlobRef, offset: int, length: int) -> bytes:
        """``length`` bytes at ``offset`` of this version of the blob, fewer only at its end.

        Raises BlobChanged where the blob has another etag by now, BlobMissing where it is gone,
        StorageUnavailable, Unauthorized.
        """
        ...

    def href(self, name: str) -> str:
        """The address that readers of the catalogue use for the blob."""
        ...
