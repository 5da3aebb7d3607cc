"""The fixtures themselves: that Azurite is real, and the guards guard."""

import os
import socket

import pytest
from azure.storage.blob import ContainerClient

from tests.conftest import NetworkBlockedError


def test_a_container_keeps_what_is_put_into_it(container: ContainerClient) -> None:
    container.upload_blob("a/b.txt", b"hello")
    assert container.download_blob("a/b.txt").readall() == b"hello"
    assert [blob.name for blob in container.list_blobs()] == ["a/b.txt"]


def test_another_machine_cannot_be_reached() -> None:
    with socket.socket() as connection, pytest.raises(NetworkBlockedError):
        connection.connect(("192.0.2.1", 443))


def test_no_variable_of_the_developer_is_left() -> None:
    assert [name for name in os.environ if name.startswith(("GEO_ASSETS_", "AZURE_", "DAGSTER_"))] == []
