"""A place for files that geo_assets makes: what takes them, by its address.

Here: opening it. Not here: which place that is (`geo_assets.resources.silver`), making files.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from geo_assets.errors import InvalidConfiguration
from geo_assets.models import BlobPage
from geo_assets.settings import Settings
from geo_assets.storage.azure_blob_store import AzureBlobStore
from geo_assets.storage.blob_store import LONG_PATIENCE, Patience
from geo_assets.storage.blob_stores import azure_resource
from geo_assets.storage.local_blob_store import LocalBlobStore


class FileTaker(Protocol):
    """A store that takes files as well."""

    def list_pages(self, prefix: str) -> Iterator[BlobPage]:
        """Every blob whose name starts with ``prefix``. Raises what `write_file` raises."""
        ...

    def remove_file(self, name: str) -> None:
        """Let there be no blob ``name``. Raises what `write_file` raises."""
        ...

    def write_file(self, name: str, path: Path, *, content_type: str) -> None:
        """Make the file at ``path`` the blob ``name``: readers see the old version or the new, never a part.

        Raises StorageUnavailable, Unauthorized, InvalidConfiguration (no such container).
        """
        ...

    def href(self, name: str) -> str:
        """The address that readers use for the blob."""
        ...


@contextmanager
def open_place(url: str, settings: Settings, *, patience: Patience = LONG_PATIENCE) -> Iterator[tuple[FileTaker, str]]:
    """The store at ``url`` and the prefix in it. Raises InvalidConfiguration where that is no address of a place."""
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and path.startswith("/"):
        yield LocalBlobStore(Path(path)), ""
    elif parts.scheme == "az" and parts.netloc:
        prefix = path.strip("/")
        with AzureBlobStore.open(azure_resource(settings), parts.netloc, patience=patience) as store:
            yield store, f"{prefix}/" if prefix else ""
    else:
        raise InvalidConfiguration(
            f"`GEO_ASSETS_SILVER` is neither a container nor a folder: {url}.",
            remedy="Write az://container/prefix or file:///folder.",
        )
