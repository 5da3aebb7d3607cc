"""The queues of events of this deployment as a Dagster resource: from a rule and the settings to the queue.

Here: the kind of queue, the account or namespace, and the credential. Not here: how a queue receives and settles
(`geo_assets.events.storage_queue`, `geo_assets.events.service_bus`).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from azure.identity import DefaultAzureCredential
from azure.storage.queue import QueueServiceClient
from pydantic import Field, SecretStr

from geo_assets.configured import AzureResource
from geo_assets.errors import InvalidConfiguration
from geo_assets.events.message_queue import MessageQueue
from geo_assets.events.service_bus import ServiceBusQueue
from geo_assets.events.storage_queue import StorageQueue
from geo_assets.settings import Settings
from geo_assets.sources.rules import QueueRule
from geo_assets.storage.azure_transport import BoundedTransport


@contextmanager
def open_queue(rule: QueueRule, settings: Settings) -> Iterator[MessageQueue]:
    """The queue of ``rule``. Raises InvalidConfiguration where its service is not configured.

    Nothing is asked of the service yet: a queue that is not there raises QueueUnavailable at the first call.
    """
    if rule.storage_queue is not None:
        with _queue_service(settings) as service, StorageQueue(service, rule.storage_queue) as queue:
            yield queue
    else:
        with _open_service_bus(settings, rule.queue) as bus:
            yield bus


def _queue_service(settings: Settings) -> QueueServiceClient:
    """The account's queues, with the first credential that is set of: connection string, key, SAS token.

    Otherwise DefaultAzureCredential (managed identity, Azure CLI, environment).
    """
    if settings.azure_connection_string is None:
        return _queue_client(_queue_url(settings), _credential(settings))
    try:
        named = QueueServiceClient.from_connection_string(
            settings.azure_connection_string.get_secret_value(), transport=BoundedTransport()
        )
    except ValueError as error:
        raise InvalidConfiguration(f"AZURE_STORAGE_CONNECTION_STRING: {error}", remedy="Copy it again.") from error
    if settings.azure_queue_url is None:
        return named
    return _queue_client(settings.azure_queue_url, named.credential or urlsplit(str(named.url)).query)


def _queue_client(url: str, credential: Any) -> QueueServiceClient:
    """A client whose requests may bound the whole of an answer."""
    return QueueServiceClient(url, credential=credential, transport=BoundedTransport())


def _queue_url(settings: Settings) -> str:
    if settings.azure_queue_url is not None:
        return settings.azure_queue_url
    if settings.azure_account_url is not None and ".blob." in settings.azure_account_url:
        return settings.azure_account_url.replace(".blob.", ".queue.", 1)
    if settings.azure_account_url is None and settings.azure_account is not None:
        return f"https://{settings.azure_account}.queue.core.windows.net"
    raise InvalidConfiguration(
        "A `storage_queue` needs a storage account.",
        remedy="Set AZURE_STORAGE_QUEUE_URL, AZURE_STORAGE_ACCOUNT or AZURE_STORAGE_CONNECTION_STRING.",
    )


def _credential(settings: Settings) -> Any:
    if settings.azure_key is not None:
        return settings.azure_key.get_secret_value()
    if settings.azure_sas_token is not None:
        return settings.azure_sas_token.get_secret_value()
    if urlsplit(_queue_url(settings)).scheme != "https":
        raise InvalidConfiguration(
            f"{_queue_url(settings)} needs a key: a token of Entra ID is sent over https only.",
            remedy="Set AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, or give an https address.",
        )
    return DefaultAzureCredential()


def _open_service_bus(settings: Settings, name: str) -> ServiceBusQueue:
    if settings.service_bus_connection_string is not None:
        connection_string = settings.service_bus_connection_string.get_secret_value()
        try:
            return ServiceBusQueue.from_connection_string(connection_string, name)
        except ValueError as error:
            raise InvalidConfiguration(
                f"AZURE_SERVICEBUS_CONNECTION_STRING: {error}", remedy="Copy it again."
            ) from error
    if settings.service_bus_namespace is not None:
        return ServiceBusQueue.from_namespace(settings.service_bus_namespace, name)
    raise InvalidConfiguration(
        "A `service_bus` queue needs a namespace.",
        remedy="Set AZURE_SERVICEBUS_CONNECTION_STRING or AZURE_SERVICEBUS_NAMESPACE.",
    )


class MessageQueues(AzureResource):
    """Opens the queue of a rule: in the storage account of the blobs, or in the configured Service Bus namespace."""

    queue_url: str = Field(default="", description="URL of the account's queues, where it is not as account_url's.")
    service_bus_connection_string: str = Field(
        default="", description="Of the Service Bus namespace. Or give service_bus_namespace."
    )
    service_bus_namespace: str = Field(
        default="",
        description="Host of the namespace. Empty, as service_bus_connection_string: the AZURE_SERVICEBUS_* variables.",
    )

    @contextmanager
    def open(self, rule: QueueRule) -> Iterator[MessageQueue]:
        """The queue of ``rule``. Raises what `open_queue` raises."""
        with open_queue(rule, self.settings) as queue:
            yield queue

    def probe(self, rule: QueueRule) -> int | None:
        """Ask the queue of ``rule`` once, taking nothing; about how many messages wait, None where it does not say.

        Raises what `open` and `MessageQueue.depth` raise.
        """
        with self.open(rule) as queue:
            depth = queue.depth()
            if depth is None:
                queue.dead_letters(1)
            return depth

    def _own_account(self) -> Mapping[str, Any]:
        own = dict(super()._own_account())
        if self.queue_url:
            own["azure_queue_url"] = self.queue_url
        if self.service_bus_connection_string or self.service_bus_namespace:
            secret = self.service_bus_connection_string
            own["service_bus_connection_string"] = SecretStr(secret) if secret else None
            own["service_bus_namespace"] = self.service_bus_namespace or None
        return own
