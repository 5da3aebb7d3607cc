"""The blob stores and the output location of this deployment as Dagster resources.

Here: which account and place they are of; publishing a file in the output location whole, looking at it, removing it.
Not here: what a store is, opening one and what workers get (`geo_assets.storage.blob_stores`), making files.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import Field

from geo_assets.configured import AzureResource
from geo_assets.errors import InvalidConfiguration
from geo_assets.foreign_errors import writing
from geo_assets.models import BlobRef, SilverFile
from geo_assets.sources.source import Source
from geo_assets.storage.blob_store import LONG_PATIENCE, SHORT_PATIENCE, BlobStore, Patience
from geo_assets.storage.blob_stores import StoreAccess, azure_resource, open_place, open_store, store_access


class BlobStores(AzureResource):
    """Opens the store of a source: a folder for file:, the configured Azure account for az:."""

    @contextmanager
    def open(self, source: Source, *, patience: Patience = LONG_PATIENCE) -> Iterator[BlobStore]:
        """The store that holds ``source``. Raises InvalidConfiguration where Azure is not configured."""
        with open_store(source, self.settings, patience=patience) as store:
            yield store

    def azure_account_url(self) -> str:
        """The URL of the storage account that holds every az: source. Raises InvalidConfiguration without one."""
        return azure_resource(self.settings).account_url

    def access(self, source: Source) -> StoreAccess:
        """What a worker needs to open the store of ``source``. Raises what `store_access` raises."""
        return store_access(source, self.settings)

    def probe(self, source: Source) -> None:
        """Ask the store of ``source`` once, without trying again. Raises what `BlobStore.list_level` raises."""
        with self.open(source, patience=SHORT_PATIENCE) as store:
            next(iter(store.list_level(source.prefix)), None)


class SilverStore(AzureResource):
    """Takes files that geo_assets makes."""

    url: str = Field(
        default="",
        description="az://container/prefix or file:///folder. Empty: GEO_ASSETS_SILVER, else silver below the state.",
    )

    def publish(self, path: Path, name: str, *, content_type: str) -> str:
        """Put the file at ``path`` there as ``name``, replacing an older one in one stroke; its address.

        Raises what `FileTaker.write_file` raises.
        """
        with open_place(self.place, self.settings) as (store, prefix):
            store.write_file(prefix + name, path, content_type=content_type)
            return store.href(prefix + name)

    @property
    def place(self) -> str:
        """The URL of the place, as `at` takes it."""
        return self.url or self.settings.silver or (self.settings.state_folder / "silver").as_uri()

    def check_is_outside(self, url: str) -> None:
        """Raise InvalidConfiguration where the place lies in a source's ``url``, which would list what is made."""
        if f"{self.place.rstrip('/')}/".startswith(f"{url.rstrip('/')}/"):
            raise InvalidConfiguration(
                f"{self.place} is within the source {url}: files there would be listed as its rasters.",
                remedy="Point `GEO_ASSETS_SILVER`, or `cogs.url` of the source, to another location.",
            )

    def at(self, place: str | None) -> "SilverStore":
        """The store at ``place``; this one for None."""
        return self.model_copy(update={"url": place}) if place else self

    def files(self, start: str) -> Iterator[BlobRef]:
        """The files there whose names start with ``start``, by those names; none where there is no such place.

        Raises StorageUnavailable, Unauthorized, and InvalidConfiguration where it is no address of a place.
        """
        with open_place(self.place, self.settings) as (store, prefix):
            try:
                for page in store.list_pages(prefix + start):
                    yield from (replace(blob, name=blob.name.removeprefix(prefix)) for blob in page)
            except InvalidConfiguration:
                return

    def probe(self) -> None:
        """Ask the place once whether files can be put there, without leaving one where it is a folder.

        Raises what `publish` raises; of a container, only that it can be listed is known.
        """
        parts = urlsplit(self.place)
        if parts.scheme == "file":
            folder = Path(unquote(parts.path))
            with writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=folder):
                    return
        with open_place(self.place, self.settings, patience=SHORT_PATIENCE) as (store, prefix):
            next(iter(store.list_pages(prefix)), None)

    def remove(self, file: SilverFile) -> None:
        """Remove the file from its place, where it is there. Raises what `publish` raises."""
        with open_place(file.place, self.settings) as (store, prefix):
            store.remove_file(prefix + file.name_in_place)
