"""The blob stores of this deployment: from a source's url to the store that holds it.

Here: choosing the store and, for Azure, the account and the credential, through dagster-azure's
resource and its credential classes. Not here: how a store lists and reads.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

from azure.storage.blob import BlobServiceClient
from dagster import ConfigurableResource
from dagster_azure.blob import (
    AzureBlobStorageAnonymousCredential,
    AzureBlobStorageDefaultCredential,
    AzureBlobStorageKeyCredential,
    AzureBlobStorageResource,
    AzureBlobStorageSASTokenCredential,
)

from geo_assets.core.events import account_of
from geo_assets.errors import InvalidConfiguration, MalformedMessage
from geo_assets.resources.azure_blob_store import AzureBlobStore
from geo_assets.resources.blob_store import BlobStore
from geo_assets.resources.local_blob_store import LocalBlobStore
from geo_assets.settings import Settings
from geo_assets.sources import Source

AzureCredential = (
    AzureBlobStorageKeyCredential
    | AzureBlobStorageSASTokenCredential
    | AzureBlobStorageDefaultCredential
    | AzureBlobStorageAnonymousCredential
)


class StorageAccount(AzureBlobStorageResource):
    """dagster-azure's resource, also for an account that a path names below any host, as an emulator's: the SDK takes
    the account's name from such a path where the host is this machine only.
    """

    @contextmanager
    def get_client(self) -> Iterator[BlobServiceClient]:
        """A client of the account."""
        name = urlsplit(self.account_url).path.strip("/")
        if not name or not isinstance(self.credential, AzureBlobStorageKeyCredential):
            with super().get_client() as client:
                yield client
            return
        credential = {"account_name": name, "account_key": str(self.credential.key)}
        with BlobServiceClient(self.account_url, credential=credential) as client:
            yield client


class BlobStores(ConfigurableResource):  # type: ignore[type-arg]
    """Opens the store of a source: a folder for file:, the configured Azure account for az:."""

    @contextmanager
    def open(self, source: Source) -> Iterator[BlobStore]:
        """The store that holds ``source``. Raises InvalidConfiguration where Azure is not configured."""
        with open_store(source, Settings()) as store:
            yield store

    def azure_account(self) -> str:
        """The name of the storage account that holds every az: source. Raises InvalidConfiguration without one."""
        url = azure_resource(Settings()).account_url
        try:
            return account_of(url)
        except MalformedMessage as error:
            raise InvalidConfiguration(
                f"{url} is no address of a storage account.", remedy="Mend AZURE_STORAGE_ACCOUNT_URL."
            ) from error

    def probe(self, source: Source) -> None:
        """Ask the store of ``source`` once, without trying again. Raises what `BlobStore.list_level` raises."""
        with self.open(source) as store:
            next(iter(store.list_level(source.prefix)), None)


@contextmanager
def open_store(source: Source, settings: Settings) -> Iterator[BlobStore]:
    """The store that holds ``source``. Raises InvalidConfiguration where Azure is not configured."""
    if source.folder is not None:
        yield LocalBlobStore(source.folder)
        return
    with AzureBlobStore.open(azure_resource(settings), source.container) as store:
        yield store


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
            "an az:// source needs a storage account.",
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
