"""What geo_assets asks of a blob store: list, look at one blob, read a range of
one version or a sidecar, and give an address; and how long it waits for the answer.

Here: the Protocol every store fulfils. Not here: the stores (`local_blob_store`, `azure_blob_store`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from geo_assets.models import BlobPage, BlobRef
from geo_assets.storage.azure_transport import WHOLE_TIMEOUT


@dataclass(frozen=True, slots=True)
class Patience:
    """How many seconds a store has: to take a connection, to send more of its answer, and to send all of it.

    A request that failed is tried again within ``retry_seconds`` of the first try only.
    """

    connect_seconds: float
    read_seconds: float
    whole_seconds: float
    retry_seconds: float

    @property
    def options(self) -> dict[str, Any]:
        """The same as options of a request of the Azure SDK."""
        return {
            "connection_timeout": self.connect_seconds,
            "read_timeout": self.read_seconds,
            WHOLE_TIMEOUT: self.whole_seconds,
        }


LONG_PATIENCE = Patience(connect_seconds=10, read_seconds=30, whole_seconds=120, retry_seconds=60)
"""Of a run, which has one store."""
SHORT_PATIENCE = Patience(connect_seconds=5, read_seconds=15, whole_seconds=20, retry_seconds=5)
"""Of a look, which is made again soon: before the next one a store has answered, or it counts as down."""


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
