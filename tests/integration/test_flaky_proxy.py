"""The proxy of the fault suite does what it says, before a real Azurite."""

import pytest
from azure.core.exceptions import AzureError, HttpResponseError, ServiceRequestError
from azure.storage.blob import BlobServiceClient, ContainerClient

from tests.peers.flaky_proxy import FlakyProxy, Mode
from tests.services import Azurite


@pytest.mark.parametrize("mode", ["down", "reset", "busy", "silent"])
def test_a_service_behind_the_proxy_fails_and_is_back(azurite: Azurite, container: ContainerClient, mode: Mode) -> None:
    container.upload_blob("a", b"bytes")
    with FlakyProxy(azurite.port) as proxy:
        there = azurite.connection_string.replace(f":{azurite.port}/", f":{proxy.port}/")
        with BlobServiceClient.from_connection_string(there, retry_total=0, read_timeout=2) as service:
            blob = service.get_blob_client(container.container_name, "a")
            assert blob.download_blob().readall() == b"bytes"
            proxy.mode = mode
            with pytest.raises(AzureError) as caught:
                blob.get_blob_properties()
            if mode == "busy":
                assert isinstance(caught.value, HttpResponseError)
                assert caught.value.status_code == 503
            if mode == "down":
                assert isinstance(caught.value, ServiceRequestError)
            proxy.mode = "up"
            assert blob.get_blob_properties().size == 5
            proxy.mode = "slow"
            assert blob.get_blob_properties(read_timeout=10).size == 5
