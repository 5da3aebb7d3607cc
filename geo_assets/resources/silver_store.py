"""The silver place: where geo_assets puts the files it makes itself.

Here: which place that is and publishing a file there whole. Not here: making files.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from dagster import ConfigurableResource
from pydantic import Field

from geo_assets.errors import InvalidConfiguration
from geo_assets.resources.azure_blob_store import AzureBlobStore
from geo_assets.resources.blob_stores import azure_resource
from geo_assets.resources.local_blob_store import LocalBlobStore
from geo_assets.settings import Settings


class FileTaker(Protocol):
    """A store that takes files as well."""

    def write_file(self, name: str, path: Path, *, content_type: str) -> None:
        """Make the file at ``path`` the blob ``name``: readers see the old version or the new, never a part.

        Raises StorageUnavailable, Unauthorized, InvalidConfiguration (no such container).
        """
        ...

    def href(self, name: str) -> str:
        """The address that readers use for the blob."""
        ...


class SilverStore(ConfigurableResource):  # type: ignore[type-arg]
    """Takes files that geo_assets makes."""

    url: str = Field(
        default="",
        description="az://container/prefix or file:///folder. Empty: GEO_ASSETS_SILVER, else silver below the state.",
    )

    def publish(self, path: Path, name: str, *, content_type: str) -> str:
        """Put the file at ``path`` there as ``name``, replacing an older one in one stroke; its address.

        Raises what `FileTaker.write_file` raises.
        """
        settings = Settings()
        url = self.url or settings.silver or (settings.state_folder / "silver").as_uri()
        with _open(url, settings) as (store, prefix):
            store.write_file(prefix + name, path, content_type=content_type)
            return store.href(prefix + name)


@contextmanager
def _open(url: str, settings: Settings) -> Iterator[tuple[FileTaker, str]]:
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and path.startswith("/"):
        yield LocalBlobStore(Path(path)), ""
    elif parts.scheme == "az" and parts.netloc:
        prefix = path.strip("/")
        with AzureBlobStore.open(azure_resource(settings), parts.netloc) as store:
            yield store, f"{prefix}/" if prefix else ""
    else:
        raise InvalidConfiguration(
            f"GEO_ASSETS_SILVER is no place: {url}.", remedy="Write az://container/prefix or file:///folder."
        )
