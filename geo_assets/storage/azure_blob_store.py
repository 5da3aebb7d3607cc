"""An Azure Blob container as a blob store, with the account and credential of dagster-azure's resource.

Here: listing with the Azure SDK, conditional ranged reads with obstore (four times the SDK's rate: see
docs/decisions/), and the translation of both libraries' errors.
"""

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import obstore
import stamina
from azure.core import MatchConditions
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.core.pipeline.policies import ContentDecodePolicy
from azure.storage.blob import BlobProperties, BlobServiceClient, ContentSettings
from dagster_azure.blob import AzureBlobStorageResource
from obstore.auth.azure import AzureCredentialProvider
from obstore.exceptions import BaseError, PermissionDeniedError, PreconditionError, UnauthenticatedError
from obstore.store import AzureStore

from geo_assets.errors import (
    BlobChanged,
    BlobMissing,
    GeoAssetsError,
    InvalidConfiguration,
    MarkerRefused,
    StorageUnavailable,
    Unauthorized,
    UnreadableName,
)
from geo_assets.models import BlobPage, BlobRef
from geo_assets.storage.azure_transport import read_blobs
from geo_assets.storage.blob_store import LONG_PATIENCE, Patience

PAGE_SIZE = 5000
ATTEMPTS = 4
"""How often a request is made before its store counts as unavailable."""
_READER_RETRY: Any = {
    "max_retries": 3,
    "retry_timeout": timedelta(seconds=20),
    "backoff": {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=5), "base": 2},
}


class AzureBlobStore:
    """One container of a storage account; ``patience`` is of its requests but those for ranges of a version."""

    def __init__(
        self, client: BlobServiceClient, open_reader: Callable[[], AzureStore], container: str, patience: Patience
    ) -> None:
        self._container = client.get_container_client(container)
        self._name = f"container {container}"
        self._open_reader = open_reader
        # The SDK's own retries wait 15 s and more; ours are short, and Dagster's next run is the long one.
        self._options: dict[str, Any] = {"retry_total": 0, **patience.options}
        self._retries: dict[str, Any] = {"attempts": ATTEMPTS, "timeout": patience.retry_seconds}

    @classmethod
    @contextmanager
    def open(
        cls, resource: AzureBlobStorageResource, container: str, *, patience: Patience = LONG_PATIENCE
    ) -> Iterator["AzureBlobStore"]:
        """The container ``container`` of the resource's account."""
        with resource.get_client() as client:
            yield cls(client, partial(_reader, resource, client, container), container, patience)

    @cached_property
    def _reader(self) -> AzureStore:
        return self._open_reader()

    def _attempts(self) -> Iterable[AbstractContextManager[object]]:
        """Tries of one request, until one is answered; a store that is down is not asked for ever."""
        return stamina.retry_context(on=StorageUnavailable, wait_initial=0.2, wait_max=5, **self._retries)

    def list_pages(self, prefix: str, *, marker: str | None = None) -> Iterator[BlobPage]:
        """Every blob below ``prefix`` in pages of 5,000; a page that fails is asked for again by its marker."""
        while True:
            page = self._list_page(prefix, marker)
            yield page
            marker = page.next_marker
            if marker is None:
                return

    def list_level(self, prefix: str) -> Iterator[str]:
        """Blobs and folders one level below ``prefix``."""
        with azure_errors(self._name):
            for entry in self._container.walk_blobs(name_starts_with=prefix or None, **self._options):
                yield entry.name

    def head(self, name: str) -> BlobRef | None:
        """The blob's properties; a folder of an account with a hierarchical namespace is no blob."""
        if _has_steps(name):
            return None
        for attempt in self._attempts():
            with attempt, azure_errors(self._name):
                try:
                    found = self._container.get_blob_client(name).get_blob_properties(**self._options)
                except ResourceNotFoundError as error:
                    if getattr(error, "error_code", None) == "ContainerNotFound":
                        raise
                    return None
                return None if (found.metadata or {}).get("hdi_isfolder") == "true" else _blob(name, found)
        raise AssertionError("unreachable: stamina raises or returns")

    def read_range(self, blob: BlobRef, offset: int, length: int) -> bytes:
        """``length`` bytes at ``offset`` under If-Match, so that they are of the version that was listed."""
        try:
            return self._read_version(blob, offset, length)
        except BlobChanged:
            # A store may answer so for a blob that is gone as well.
            with azure_errors(blob.name):
                if self._container.get_blob_client(blob.name).exists(**self._options):
                    raise
            raise BlobMissing(f"{blob.name} is gone since it was listed.") from None

    def write_file(self, name: str, path: Path, *, content_type: str) -> None:
        """Upload the file: its blocks become the blob in one commit, and the older blob stays until then."""
        for attempt in self._attempts():
            with attempt, azure_errors(self._name), path.open("rb") as file:
                self._container.upload_blob(
                    name,
                    file,
                    length=path.stat().st_size,
                    overwrite=True,
                    max_concurrency=4,
                    content_settings=ContentSettings(content_type=content_type),
                    **self._options,
                )

    def remove_file(self, name: str) -> None:
        """Delete the blob, where it is there."""
        for attempt in self._attempts():
            with attempt, azure_errors(name), suppress(ResourceNotFoundError):
                self._container.delete_blob(name, delete_snapshots="include", **self._options)

    def read_sidecar(self, name: str, most: int) -> bytes | None:
        """The first ``most`` bytes of a blob, whatever its version."""
        if _has_steps(name):
            return None
        for attempt in self._attempts():
            with attempt, azure_errors(name):
                try:
                    found = self._container.download_blob(name, offset=0, length=most, **self._options)
                    return bytes(found.readall())
                except ResourceNotFoundError:
                    return None
                except HttpResponseError as error:
                    if error.status_code == 416:  # an empty blob has no range
                        return b""
                    raise
        raise AssertionError("unreachable: stamina raises or returns")

    def href(self, name: str) -> str:
        """The blob's https (for Azurite http) URL, without any credential."""
        return str(self._container.get_blob_client(name).url).split("?", 1)[0]

    def _list_page(self, prefix: str, marker: str | None) -> BlobPage:
        for attempt in self._attempts():
            with attempt, azure_errors(self._name, marker=marker), _no_garbage_collection():
                answers: list[Any] = []
                # The SDK's own objects take ten times as long to build as all the rest of a listing. Asked for names
                # only, it builds none, and leaves the answer's XML where a hook finds it.
                pages: Any = self._container.list_blob_names(
                    name_starts_with=prefix or None,
                    results_per_page=PAGE_SIZE,
                    raw_response_hook=answers.append,
                    **self._options,
                ).by_page(continuation_token=marker)
                next(pages)
                answer = answers[-1].context[ContentDecodePolicy.CONTEXT_NAME]
                blobs = read_blobs(answer)
                answer.clear()  # at once: the SDK's objects hold each other, and so the page, until a collection
                return BlobPage(blobs, pages.continuation_token or None)
        raise AssertionError("unreachable: stamina raises or returns")

    def _read_version(self, blob: BlobRef, offset: int, length: int) -> bytes:
        if _has_steps(blob.name):
            raise UnreadableName(f"{blob.name} has a folder called `.` or `..`, so no client can ask for it.")
        if blob.name.startswith("/") or blob.name.endswith(
            "/"
        ):  # obstore leaves out these slashes: another blob's name
            return self._read_range_with_sdk(blob, offset, length)
        options: Any = {"range": (offset, offset + length), "if_match": f'"{blob.own_etag}"'}
        try:
            return bytes(obstore.get(self._reader, blob.name, options=options).bytes())
        except (BaseError, FileNotFoundError, PermissionError) as error:
            raise _translated_reader_error(error, blob.name) from error
        except ValueError:  # a name obstore has no path for: an empty segment, a control character
            return self._read_range_with_sdk(blob, offset, length)

    def _read_range_with_sdk(self, blob: BlobRef, offset: int, length: int) -> bytes:
        for attempt in self._attempts():
            with attempt, azure_errors(blob.name):
                content: bytes = self._container.download_blob(
                    blob.name,
                    offset=offset,
                    length=length,
                    etag=f'"{blob.own_etag}"',
                    match_condition=MatchConditions.IfNotModified,
                    **self._options,
                ).readall()
                return content
        raise AssertionError("unreachable: stamina raises or returns")


def _reader(resource: AzureBlobStorageResource, client: BlobServiceClient, container: str) -> AzureStore:
    """obstore on the same account and credential as the SDK's client."""
    account_url = resource.account_url.split("?", 1)[0].rstrip("/")
    name = client.account_name or getattr(client.credential, "account_name", None)
    config: Any = {"account_name": name, "endpoint": account_url}
    options: dict[str, Any] = {}
    credential: Any = resource.credential
    match credential.credential_type:
        case "key":
            config["account_key"] = credential.key
        case "sas":
            config["sas_key"] = credential.token
        case "default_azure_credential":
            options["credential_provider"] = AzureCredentialProvider(client.credential)
        case "anonymous":
            # A SAS token may also stand in the account's URL.
            query = urlsplit(resource.account_url).query
            config |= {"sas_key": query} if dict(parse_qsl(query)) else {"skip_signature": True}
    return AzureStore(
        container,
        config=config,
        client_options={"allow_http": True, "timeout": "30s", "connect_timeout": "10s"},
        retry_config=_READER_RETRY,
        **options,
    )


def _has_steps(name: str) -> bool:
    """Whether HTTP clients would take a part of the name for a step to another blob."""
    return not {".", ".."}.isdisjoint(name.split("/"))


def _blob(name: str, found: BlobProperties) -> BlobRef:
    md5 = found.content_settings.content_md5
    return BlobRef(
        name=name,
        etag=str(found.etag).strip('"'),
        size_bytes=int(found.size),
        last_modified=found.last_modified.astimezone(UTC),
        content_type=found.content_settings.content_type or None,
        md5=bytes(md5).hex() if md5 else None,
    )


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A page is 100,000 XML elements: to make them sets off collections that look at every object of the process.

    With Dagster loaded that takes two thirds of a listing's time, and finds nothing, for XML has no cycles.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def azure_errors(what: str, *, marker: str | None = None) -> Iterator[None]:
    """Turn the SDK's errors into ours; ``what`` is the blob or container concerned."""
    try:
        yield
    except AzureError as error:
        if marker is not None and isinstance(error, HttpResponseError) and error.status_code == 400:
            raise MarkerRefused(f"{what} cannot be listed on from where a listing was left.") from error
        raise _translated(error, what) from error


def _translated(error: AzureError, what: str) -> GeoAssetsError:
    code = getattr(error, "error_code", None)
    status = error.status_code if isinstance(error, HttpResponseError) else None
    message = (error.message or str(error)).splitlines()[0]
    if code == "ContainerNotFound":
        return InvalidConfiguration(
            f"{what} does not exist.", remedy="Correct `url` of the source in sources.yaml, or create the container."
        )
    if isinstance(error, ResourceModifiedError) or status == 412:
        return BlobChanged(f"{what} was overwritten after it was listed.")
    if isinstance(error, ResourceNotFoundError) or status == 404:
        return BlobMissing(f"{what} is gone since it was listed.")
    if isinstance(error, ClientAuthenticationError) or status in (401, 403):
        return Unauthorized(f"The store refuses access to {what}: {message}.")
    return StorageUnavailable(f"The store failed on {what}: {message}.")


def _translated_reader_error(error: Exception, name: str) -> GeoAssetsError:
    if isinstance(error, PreconditionError):
        return BlobChanged(f"{name} was overwritten after it was listed.")
    if isinstance(error, FileNotFoundError):
        return BlobMissing(f"{name} is gone since it was listed.")
    message = str(error).splitlines()[0][:300]
    if isinstance(error, PermissionError | PermissionDeniedError | UnauthenticatedError):
        return Unauthorized(f"The store refuses access to {name}: {message}.")
    return StorageUnavailable(f"The store failed on {name}: {message}.")
