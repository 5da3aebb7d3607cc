"""Blob stores: from a source's url, or the address of a place for files we make, to the store that holds it.

Here: choosing the store and, for Azure, the account and the credential, through dagster-azure's resource and its
credential classes; what of them is handed to a worker. Not here: how a store lists and reads, which place takes the
files that geo_assets makes (`geo_assets.resources.stores`).
"""

import ipaddress
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import unquote, urlsplit, urlunsplit

from azure.core.credentials import AccessToken
from azure.identity import DefaultAzureCredential
from azure.storage.blob import BlobServiceClient
from dagster_azure.blob import (
    AzureBlobStorageAnonymousCredential,
    AzureBlobStorageDefaultCredential,
    AzureBlobStorageKeyCredential,
    AzureBlobStorageResource,
    AzureBlobStorageSASTokenCredential,
)
from pydantic import PrivateAttr

from geo_assets.errors import InvalidConfiguration
from geo_assets.models import BlobPage
from geo_assets.settings import Settings
from geo_assets.sources.source import Source
from geo_assets.storage.azure_blob_store import AzureBlobStore, azure_errors
from geo_assets.storage.azure_transport import BoundedTransport
from geo_assets.storage.blob_store import LONG_PATIENCE, BlobStore, Patience
from geo_assets.storage.local_blob_store import LocalBlobStore
from geo_assets.workers.enclosure import Enclosure

AzureCredential = (
    AzureBlobStorageKeyCredential
    | AzureBlobStorageSASTokenCredential
    | AzureBlobStorageDefaultCredential
    | AzureBlobStorageAnonymousCredential
)


_SCOPE = "https://storage.azure.com/.default"
# A store may be behind these; the workers' clean environment has none of them.
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


@dataclass(frozen=True, slots=True)
class StoreAccess:
    """Where one store is and what opens it: all of the settings that a worker gets.

    ``secret`` is the account's key, the SAS token, or a token of Microsoft's identity service that ``expires``, in
    seconds of the epoch; ``proxies`` are the variables of the environment that name them.
    """

    folder: Path | None = None
    account_url: str = field(default="", repr=False)
    container: str = ""
    kind: Literal["key", "sas", "token", "anonymous"] = "anonymous"
    secret: str = field(default="", repr=False)
    expires: int = 0
    proxies: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @property
    def place(self) -> str:
        """Which store it is, whatever opens it."""
        return str(self.folder) if self.folder else f"{self.account_url}/{self.container}"

    @property
    def enclosure(self) -> Enclosure:
        """What who reads this store must reach: its folder, or its ports."""
        if self.folder is not None:
            return Enclosure(readable=(self.folder,))
        urls = [self.account_url, *(url for name, url in self.proxies if name.upper() != "NO_PROXY")]
        parts = [urlsplit(url if "://" in url else f"http://{url}") for url in urls]
        ports = {each.port or _PORTS.get(each.scheme, 443) for each in parts}
        return Enclosure(ports=tuple(sorted(ports)), names=any(_is_looked_up(each.hostname or "") for each in parts))


@dataclass(frozen=True, slots=True)
class _HandedToken:
    """A token as a credential of the Azure SDK: it is what it is, until it expires."""

    access: StoreAccess

    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        """The token. Whose it was renews it."""
        return AccessToken(self.access.secret, self.access.expires)


class StorageAccount(AzureBlobStorageResource):
    """dagster-azure's resource, also for an account that a path names below any host, as an emulator's: the SDK takes
    the account's name from such a path where the host is this machine only.
    """

    _token: Any = PrivateAttr(default=None)

    @classmethod
    def opened_by(cls, access: StoreAccess) -> "StorageAccount":
        """The account, with a credential that was handed over."""
        credentials: dict[str, AzureCredential] = {
            "key": AzureBlobStorageKeyCredential(key=access.secret),
            "sas": AzureBlobStorageSASTokenCredential(token=access.secret),
            "token": AzureBlobStorageDefaultCredential(),
            "anonymous": AzureBlobStorageAnonymousCredential(),
        }
        account = cls(account_url=access.account_url, credential=credentials[access.kind])
        if access.kind == "token":
            account._token = _HandedToken(access)
        return account

    @contextmanager
    def get_client(self) -> Iterator[BlobServiceClient]:
        """A client of the account, whose requests may bound the whole of an answer."""
        name = urlsplit(self.account_url).path.strip("/")
        credential: Any = self._raw_credential()
        if self._token is not None:
            credential = self._token
        elif name and isinstance(self.credential, AzureBlobStorageKeyCredential):
            credential = {"account_name": name, "account_key": str(self.credential.key)}
        with BlobServiceClient(self.account_url, credential=credential, transport=BoundedTransport()) as client:
            yield client


class Stores(Protocol):
    """What opens the store of a source, with the account that it knows."""

    def open(self, source: Source, *, patience: Patience = LONG_PATIENCE) -> AbstractContextManager[BlobStore]:
        """The store that holds ``source``. Raises InvalidConfiguration where Azure is not configured."""
        ...

    def azure_account_url(self) -> str:
        """The URL of the storage account that holds every az: source. Raises InvalidConfiguration without one."""
        ...


@contextmanager
def open_store(source: Source, settings: Settings, *, patience: Patience = LONG_PATIENCE) -> Iterator[BlobStore]:
    """The store that holds ``source``. Raises InvalidConfiguration where Azure is not configured."""
    if source.folder is not None:
        yield LocalBlobStore(source.folder)
        return
    with AzureBlobStore.open(azure_resource(settings), source.container, patience=patience) as store:
        yield store


def store_access(source: Source, settings: Settings) -> StoreAccess:
    """What a worker needs to open the store of ``source``, with a token that is fresh where a token opens it.

    Raises InvalidConfiguration where Azure is not configured, Unauthorized or StorageUnavailable without a token.
    """
    if source.folder is not None:
        return StoreAccess(folder=source.folder)
    resource = azure_resource(settings)
    credential: Any = resource.credential
    given: dict[str, Any] = {"kind": credential.credential_type}
    match credential.credential_type:
        case "key":
            given["secret"] = str(credential.key)
        case "sas":
            given["secret"] = str(credential.token)
        case "default_azure_credential":
            with azure_errors(f"container {source.container}"):
                token = default_credential().get_token(_SCOPE)
            given = {"kind": "token", "secret": token.token, "expires": token.expires_on}
    proxies = {name: value for name, value in os.environ.items() if name.upper() in _PROXIES and value}
    return StoreAccess(
        account_url=resource.account_url, container=source.container, proxies=tuple(sorted(proxies.items())), **given
    )


@contextmanager
def open_handed(access: StoreAccess) -> Iterator[BlobStore]:
    """In a worker: the store that ``access`` opens."""
    os.environ.update(access.proxies)
    if access.folder is not None:
        yield LocalBlobStore(access.folder)
        return
    with AzureBlobStore.open(StorageAccount.opened_by(access), access.container) as store:
        yield store


@cache
def default_credential() -> DefaultAzureCredential:
    """Kept, for it keeps its tokens."""
    return DefaultAzureCredential()


def _is_looked_up(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host != "localhost"
    return False


def azure_resource(settings: Settings) -> AzureBlobStorageResource:
    """dagster-azure's resource for the account the AZURE_STORAGE_* variables name.

    The credential is the first that is set of: connection string, account key, SAS token, anonymous;
    otherwise DefaultAzureCredential (managed identity, Azure CLI, environment).
    """
    if settings.azure_connection_string is not None:
        return _from_connection_string(settings.azure_connection_string.get_secret_value())
    account_url = settings.azure_account_url
    if account_url is None and settings.azure_account is not None:
        account_url = f"https://{settings.azure_account}.blob.core.windows.net"
    if account_url is None:
        raise InvalidConfiguration(
            "An az:// source needs a storage account.",
            remedy="Set AZURE_STORAGE_ACCOUNT_URL, AZURE_STORAGE_ACCOUNT or AZURE_STORAGE_CONNECTION_STRING.",
        )
    return StorageAccount(account_url=account_url, credential=_credential(settings))


def _credential(settings: Settings) -> AzureCredential:
    if settings.azure_key is not None:
        return AzureBlobStorageKeyCredential(key=settings.azure_key.get_secret_value())
    if settings.azure_sas_token is not None:
        return AzureBlobStorageSASTokenCredential(token=settings.azure_sas_token.get_secret_value())
    if settings.azure_anonymous:
        return AzureBlobStorageAnonymousCredential()
    return AzureBlobStorageDefaultCredential()


def _from_connection_string(connection_string: str) -> AzureBlobStorageResource:
    """The SDK parses the string; what it found goes into dagster-azure's classes."""
    try:
        with BlobServiceClient.from_connection_string(connection_string) as client:
            account_url, sas_token = _split_sas(str(client.url))
            key = getattr(client.credential, "account_key", None)
    except ValueError as error:
        raise InvalidConfiguration(f"AZURE_STORAGE_CONNECTION_STRING: {error}", remedy="Copy it again.") from error
    credential: AzureCredential
    if key:
        credential = AzureBlobStorageKeyCredential(key=str(key))
    elif sas_token:
        credential = AzureBlobStorageSASTokenCredential(token=sas_token)
    else:
        credential = AzureBlobStorageDefaultCredential()
    return StorageAccount(account_url=account_url, credential=credential)


def _split_sas(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query="")).rstrip("/"), parts.query


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
