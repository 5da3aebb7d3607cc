"""An Azure Blob container as a blob store, over the client of dagster-azure's AzureBlobStorageResource.

Here: listing and conditional ranged reads with retries, and the translation of the SDK's errors.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import stamina
from azure.core import MatchConditions
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.storage.blob import BlobProperties, BlobServiceClient

from geo_assets.errors import (
    BlobChanged,
    BlobMissing,
    GeoAssetsError,
    InvalidConfiguration,
    StorageUnavailable,
    Unauthorized,
)
from geo_assets.models import BlobRef

PAGE_SIZE = 5000
# The SDK's own retries wait 15 s and more; ours are short, and Dagster's next run is the long one.
_NO_SDK_RETRY: dict[str, Any] = {"retry_total": 0, "connection_timeout": 10, "read_timeout": 30}
_ATTEMPTS = 4


class AzureBlobStore:
    """One container of a storage account."""

    def __init__(self, client: BlobServiceClient, container: str) -> None:
        self._container = client.get_container_client(container)

    def list_pages(self, prefix: str) -> Iterator[Sequence[BlobRef]]:
        """Every blob below ``prefix`` in pages of 5,000; a page that fails is asked for again by its marker."""
        marker: str | None = None
        while True:
            page, marker = self._list_page(prefix, marker)
            yield page
            if not marker:
                return

    def read_range(self, blob: BlobRef, offset: int, length: int) -> bytes:
        """``length`` bytes at ``offset`` under If-Match, so that they are of the version that was listed."""
        for attempt in stamina.retry_context(on=StorageUnavailable, attempts=_ATTEMPTS, wait_initial=0.2, wait_max=5):
            with attempt, _azure_errors(blob.name):
                content: bytes = self._container.download_blob(
                    blob.name,
                    offset=offset,
                    length=length,
                    etag=f'"{blob.etag}"',
                    match_condition=MatchConditions.IfNotModified,
                    max_concurrency=1,
                    **_NO_SDK_RETRY,
                ).readall()
                return content
        raise AssertionError("unreachable: stamina raises or returns")

    def href(self, name: str) -> str:
        """The blob's https (for Azurite http) URL, without any credential."""
        return str(self._container.get_blob_client(name).url).split("?", 1)[0]

    def _list_page(self, prefix: str, marker: str | None) -> tuple[list[BlobRef], str | None]:
        where = f"container {self._container.container_name}"
        for attempt in stamina.retry_context(on=StorageUnavailable, attempts=_ATTEMPTS, wait_initial=0.2, wait_max=5):
            with attempt, _azure_errors(where):
                pages = self._container.list_blobs(
                    name_starts_with=prefix or None, results_per_page=PAGE_SIZE, **_NO_SDK_RETRY
                ).by_page(continuation_token=marker)
                page = [_blob(properties) for properties in next(pages, ())]
                return page, getattr(pages, "continuation_token", None)
        raise AssertionError("unreachable: stamina raises or returns")


@contextmanager
def _azure_errors(what: str) -> Iterator[None]:
    """Turn the SDK's errors into ours; ``what`` is the blob or container concerned."""
    try:
        yield
    except AzureError as error:
        raise _translated(error, what) from error


def _translated(error: AzureError, what: str) -> GeoAssetsError:
    code = getattr(error, "error_code", None)
    status = error.status_code if isinstance(error, HttpResponseError) else None
    message = (error.message or str(error)).splitlines()[0]
    if code == "ContainerNotFound":
        return InvalidConfiguration(f"{what} does not exist.", remedy="Mend the source's url in sources.yaml.")
    if isinstance(error, ResourceModifiedError) or status == 412:
        return BlobChanged(f"{what} was overwritten after it was listed.")
    if isinstance(error, ResourceNotFoundError) or status == 404:
        return BlobMissing(f"{what} is gone since it was listed.")
    if isinstance(error, ClientAuthenticationError) or status in (401, 403):
        return Unauthorized(f"the store refuses access to {what}: {message}.")
    return StorageUnavailable(f"the store failed on {what}: {message}.")


def _blob(properties: BlobProperties) -> BlobRef:
    md5 = properties.content_settings.content_md5
    return BlobRef(
        name=properties.name,
        etag=properties.etag.strip('"'),
        size_bytes=properties.size,
        last_modified=properties.last_modified,
        content_type=properties.content_settings.content_type,
        md5=bytes(md5).hex() if md5 else None,
    )
