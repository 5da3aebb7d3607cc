"""The blob stores of this deployment as a Dagster resource.

Here: which account they are of. Not here: what a store is and what workers get (`geo_assets.storage.blob_stores`).
"""

from collections.abc import Iterator
from contextlib import contextmanager

from geo_assets.configured import AzureResource
from geo_assets.sources.source import Source
from geo_assets.storage.blob_store import LONG_PATIENCE, SHORT_PATIENCE, BlobStore, Patience
from geo_assets.storage.blob_stores import StoreAccess, azure_resource, open_store, store_access


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
