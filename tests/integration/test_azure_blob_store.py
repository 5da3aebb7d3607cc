"""What only a container has: checksums, credentials, and a service that may refuse or be away."""

import hashlib
import http.client
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
from azure.storage.blob import (
    AccountSasPermissions,
    BlobBlock,
    BlobServiceClient,
    ContainerClient,
    ContainerSasPermissions,
    ContentSettings,
    PublicAccess,
    ResourceTypes,
    generate_account_sas,
    generate_container_sas,
)

from geo_assets.errors import BlobMissing, InvalidConfiguration, StorageUnavailable, Unauthorized, UnreadableName
from geo_assets.models import BlobRef
from geo_assets.resources.stores import BlobStores
from geo_assets.settings import Settings
from geo_assets.sources.source import CollectionRule, Source
from geo_assets.storage.blob_store import Patience
from geo_assets.storage.blob_stores import azure_resource
from tests.peers.flaky_proxy import FlakyProxy, Mode
from tests.pipeline import Pipeline
from tests.rasters import raster_bytes
from tests.services import AZURITE_ACCOUNT, AZURITE_KEY, Azurite, free_port

CONTENT = b"some raster"
ODD_NAMES = [
    "/lead.tif", "//two.tif", "/a//b.tif", "a//b.tif", "a//", "trail/", "trail.tif//", "...tif", "x/...", "x.tif.",
    "%", "100%.tif", "%2e%2e/d.tif", "a%2Fb.tif", "a%20b.tif", "a?b.tif", "a#b.tif", "a b.tif", " a.tif", "a .tif ",
    "a+b.tif", "a&b=c.tif", "a;b,c.tif", "a:b.tif", "http://x/y.tif", "a~b!$'()*@.tif", "[a]{b}|^`<>\".tif",
    "a\tb.tif", "a\x85b.tif", "a\u200bb.tif", "a\u202eb.tif", "ü.tif", "u\u0308.tif", "日本.tif", "😀.tif",
]  # fmt: skip
PLAIN_NAMES = ["lead.tif", "two.tif", "a/b.tif", "trail", "trail.tif", "d.tif", "x/d.tif", "%2F", "a", "b.tif"]
DOT_NAMES = ["./d.tif", "x/./d.tif", "x/../d.tif", "x/..", "x/."]
GONE = BlobRef(name="gone.tif", etag="0x1", size_bytes=1, last_modified=datetime(2024, 5, 6, tzinfo=UTC))


def source_in(container: str) -> Source:
    return Source(name="s", url=f"az://{container}", collection=CollectionRule(id="c", description="d"))


def listed_and_read(container: str) -> dict[str, bytes]:
    """What a source in the container is seen to hold, with the environment as it is."""
    with BlobStores().open(source_in(container)) as store:
        blobs = [blob for page in store.list_pages("") for blob in page]
        return {blob.name: store.read_range(blob, 0, blob.size_bytes) for blob in blobs}


def account_sas(*, hours: int = 1, write: bool = False) -> str:
    """A SAS token that may list and read, and write where asked for."""
    return generate_account_sas(
        AZURITE_ACCOUNT,
        AZURITE_KEY,
        resource_types=ResourceTypes(container=True, object=True),
        permission=AccountSasPermissions(read=True, list=True, write=write),
        expiry=datetime.now(UTC) + timedelta(hours=hours),
    )


@pytest.fixture
def bronze(container: ContainerClient) -> str:
    """A container with one blob; its name."""
    container.upload_blob("a.tif", CONTENT)
    return str(container.container_name)


@pytest.fixture
def public(azurite: Azurite) -> Iterator[str]:
    """A container with one blob that everybody may list and read; its name."""
    with BlobServiceClient.from_connection_string(azurite.connection_string) as service:
        client = service.create_container("public", public_access=PublicAccess.CONTAINER)
        client.upload_blob("a b.tif", CONTENT)
        yield "public"
        client.delete_container()


@pytest.fixture
def account(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The account's URL in the environment, without a credential; more is set by the test."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_URL", azurite.account_url)
    return monkeypatch


def test_a_connection_string_with_a_key_opens_the_account(
    bronze: str, azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string)
    assert listed_and_read(bronze) == {"a.tif": CONTENT}


def test_a_connection_string_with_a_sas_token_opens_the_account(
    bronze: str, azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"BlobEndpoint={azurite.account_url};SharedAccessSignature={account_sas()}"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
    assert listed_and_read(bronze) == {"a.tif": CONTENT}


def test_an_account_key_opens_the_account(bronze: str, account: pytest.MonkeyPatch) -> None:
    account.setenv("AZURE_STORAGE_KEY", AZURITE_KEY)
    assert listed_and_read(bronze) == {"a.tif": CONTENT}


@pytest.mark.parametrize("before", ["", "?"])
def test_a_sas_token_opens_the_account_with_or_without_its_question_mark(
    bronze: str, account: pytest.MonkeyPatch, before: str
) -> None:
    account.setenv("AZURE_STORAGE_SAS_TOKEN", before + account_sas())
    assert listed_and_read(bronze) == {"a.tif": CONTENT}


def test_a_sas_token_of_one_container_is_enough_for_a_source_in_it(bronze: str, account: pytest.MonkeyPatch) -> None:
    token = generate_container_sas(
        AZURITE_ACCOUNT,
        bronze,
        account_key=AZURITE_KEY,
        permission=ContainerSasPermissions(read=True, list=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    account.setenv("AZURE_STORAGE_SAS_TOKEN", token)
    assert listed_and_read(bronze) == {"a.tif": CONTENT}


def test_a_public_container_needs_no_credential_and_its_addresses_can_be_opened(
    public: str, account: pytest.MonkeyPatch
) -> None:
    account.setenv("AZURE_STORAGE_ANONYMOUS", "true")
    assert listed_and_read(public) == {"a b.tif": CONTENT}
    with BlobStores().open(source_in(public)) as store, urllib.request.urlopen(store.href("a b.tif")) as answer:
        assert answer.read() == CONTENT


def put_as_it_is(azurite: Azurite, container: str, name: str, content: bytes) -> None:
    """Put a blob whose name no client sends unchanged."""
    base = urlsplit(azurite.account_url)
    connection = http.client.HTTPConnection(base.netloc)
    kind = {"x-ms-blob-type": "BlockBlob", "x-ms-version": "2021-12-02"}
    connection.request("PUT", f"{base.path}/{container}/{name}?{account_sas(write=True)}", content, kind)
    assert connection.getresponse().status == 201
    connection.close()


def test_each_blob_is_read_by_its_own_name_however_odd(
    container: ContainerClient, azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string)
    contents = {name: f"content of {name}".encode() for name in (*ODD_NAMES, *PLAIN_NAMES)}
    for name, content in contents.items():
        container.upload_blob(name, content)
    assert listed_and_read(container.container_name) == contents
    with BlobStores().open(source_in(container.container_name)) as store:
        for name, content in contents.items():
            found = store.head(name)
            assert found is not None
            assert (found.name, found.size_bytes) == (name, len(content))
            assert store.read_sidecar(name, 1000) == content


@pytest.mark.parametrize("variable", ["AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_SAS_TOKEN"])
@pytest.mark.parametrize("name", DOT_NAMES)
def test_a_name_with_a_dot_for_a_folder_is_the_reason_and_no_other_blob_is_read(
    bronze: str, azurite: Azurite, account: pytest.MonkeyPatch, container: ContainerClient, variable: str, name: str
) -> None:
    account.setenv(variable, azurite.connection_string if variable.endswith("STRING") else account_sas())
    for each in ("d.tif", "x/d.tif", "x"):
        container.upload_blob(each, CONTENT)
    put_as_it_is(azurite, bronze, name, CONTENT)
    with BlobStores().open(source_in(bronze)) as store:
        (blob,) = [blob for page in store.list_pages("") for blob in page if blob.name == name]
        with pytest.raises(UnreadableName, match=re.escape(name)):
            store.read_range(blob, 0, blob.size_bytes)
        assert store.head(name) is None
        assert store.read_sidecar(name, 10) is None


def test_a_run_gives_each_odd_name_the_item_of_its_own_pixels_or_its_true_reason(
    pipeline: Pipeline, container: ContainerClient, azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string)
    values = {name: float(number) for number, name in enumerate((*ODD_NAMES, *PLAIN_NAMES), start=1)}
    for name, value in values.items():
        container.upload_blob(name, raster_bytes(value=int(value)))
    for name in DOT_NAMES:
        put_as_it_is(azurite, container.container_name, name, raster_bytes(value=99))
    pipeline.declare(f"az://{container.container_name}", include=["**"], statistics=True)
    assert pipeline.run().success
    items = pipeline.items()
    found = {name: item["assets"]["data"]["bands"][0]["statistics"]["mean"] for name, item in items.items()}
    assert found == values
    assert len({item["assets"]["data"]["href"] for item in items.values()}) == len(items)
    assert {name: failure.code for name, failure in pipeline.failures().items()} == dict.fromkeys(
        DOT_NAMES, "unreadable_name"
    )
    pipeline.check_promise()


@pytest.mark.parametrize(
    "variables",
    [
        {"AZURE_STORAGE_KEY": "d3Jvbmcga2V5"},
        {"AZURE_STORAGE_SAS_TOKEN": "sv=2024-11-04&ss=b&srt=co&sp=rl&se=2099-01-01T00:00:00Z&sig=d3Jvbmc%3D"},
        {"AZURE_STORAGE_SAS_TOKEN": account_sas(hours=-1)},
    ],
    ids=["wrong key", "wrong signature", "expired token"],
)
def test_a_credential_that_is_refused_is_unauthorized_for_listing_and_reading(
    bronze: str, account: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        account.setenv(name, value)
    with BlobStores().open(source_in(bronze)) as store:
        for use in (lambda: list(store.list_pages("")), lambda: store.read_range(GONE, 0, 1)):
            with pytest.raises(Unauthorized) as caught:
                use()
            assert "AZURE_STORAGE_" in caught.value.remedy
            assert not any(value in str(caught.value) for value in variables.values())


def test_a_private_container_is_not_there_for_the_anonymous(bronze: str, account: pytest.MonkeyPatch) -> None:
    account.setenv("AZURE_STORAGE_ANONYMOUS", "true")
    with BlobStores().open(source_in(bronze)) as store, pytest.raises((Unauthorized, InvalidConfiguration)):
        list(store.list_pages(""))


def test_a_service_that_is_away_is_said_so_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_URL", f"http://127.0.0.1:{free_port()}/{AZURITE_ACCOUNT}")
    monkeypatch.setenv("AZURE_STORAGE_KEY", AZURITE_KEY)
    started = time.monotonic()
    with BlobStores().open(source_in("bronze")) as store:
        with pytest.raises(StorageUnavailable):
            list(store.list_pages(""))
        with pytest.raises(StorageUnavailable, match=r"gone\.tif"):
            store.read_range(GONE, 0, 1)
    assert time.monotonic() - started < 25


@pytest.mark.parametrize("mode", ["silent", "drip", "drip_head"])
def test_a_store_that_never_ends_its_answer_is_left_in_time_and_its_neighbour_is_read(
    bronze: str, azurite: Azurite, monkeypatch: pytest.MonkeyPatch, mode: Mode
) -> None:
    patience = Patience(connect_seconds=2, read_seconds=1.5, whole_seconds=2, retry_seconds=1)
    with FlakyProxy(azurite.port) as proxy:
        proxy.containers["bad"] = mode
        there = azurite.connection_string.replace(f":{azurite.port}/", f":{proxy.port}/")
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", there)
        with BlobStores().open(source_in("bad"), patience=patience) as store:
            asked: list[Callable[[], object]] = [
                lambda: list(store.list_pages("")),
                lambda: list(store.list_level("")),
                lambda: store.head("a"),
            ]
            for ask in asked if mode != "drip" else asked[:2]:  # a HEAD's answer has no body
                started = time.monotonic()
                with pytest.raises(StorageUnavailable, match="bad"):
                    ask()
                assert time.monotonic() - started < 8
        assert listed_and_read(bronze) == {"a.tif": CONTENT}


def test_the_stores_checksum_and_content_type_are_kept_where_it_has_them(
    container: ContainerClient, azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string)
    md5 = hashlib.md5(CONTENT)
    settings = ContentSettings(content_type="image/tiff", content_md5=bytearray(md5.digest()))
    container.upload_blob("with.tif", CONTENT, content_settings=settings)
    # Committed from blocks, a blob has no checksum unless its writer states one.
    client = container.get_blob_client("without.tif")
    client.stage_block("block", CONTENT)
    client.commit_block_list([BlobBlock("block")])
    with BlobStores().open(source_in(str(container.container_name))) as store:
        blobs = {blob.name: blob for page in store.list_pages("") for blob in page}
    assert (blobs["with.tif"].md5, blobs["with.tif"].content_type) == (md5.hexdigest(), "image/tiff")
    assert blobs["without.tif"].md5 is None


def test_a_name_with_an_empty_folder_in_it_is_read_and_told_missing(
    container: ContainerClient, azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string)
    container.upload_blob("x//a.tif", CONTENT)
    with BlobStores().open(source_in(str(container.container_name))) as store:
        ((blob,),) = store.list_pages("x/")
        assert (blob.name, store.read_range(blob, 5, 6)) == ("x//a.tif", CONTENT[5:])
        container.delete_blob("x//a.tif")
        with pytest.raises(BlobMissing):
            store.read_range(blob, 0, 1)


def test_without_an_account_the_variables_to_set_are_named() -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        azure_resource(Settings())
    assert "AZURE_STORAGE_ACCOUNT_URL" in caught.value.remedy


def test_a_connection_string_that_is_cut_is_a_mistake_named_without_its_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", "AccountKey=c2VjcmV0;")
    with pytest.raises(InvalidConfiguration, match="AZURE_STORAGE_CONNECTION_STRING") as caught:
        azure_resource(Settings())
    assert "c2VjcmV0" not in str(caught.value)


def test_an_account_name_stands_for_its_usual_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "myaccount")
    assert azure_resource(Settings()).account_url == "https://myaccount.blob.core.windows.net"


def test_the_first_credential_that_is_set_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "myaccount")
    taken = [azure_resource(Settings()).credential.credential_type]
    for name, value in {
        "AZURE_STORAGE_ANONYMOUS": "true",
        "AZURE_STORAGE_SAS_TOKEN": "sig=x",
        "AZURE_STORAGE_KEY": "d3Jvbmcga2V5",
        "AZURE_STORAGE_CONNECTION_STRING": "AccountName=other;AccountKey=a2V5;EndpointSuffix=core.windows.net",
    }.items():
        monkeypatch.setenv(name, value)
        taken.append(azure_resource(Settings()).credential.credential_type)
    assert taken == ["default_azure_credential", "anonymous", "sas", "key", "key"]
    assert azure_resource(Settings()).account_url == "https://other.blob.core.windows.net"


def test_an_emulator_may_have_any_hosts_name(bronze: str, azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in compose, where Azurite is the host azurite: the SDK knows an account by a path for localhost alone."""
    with FlakyProxy(azurite.port, host="127.0.0.2") as elsewhere:
        url = f"http://127.0.0.2:{elsewhere.port}/{AZURITE_ACCOUNT}"
        connection = f"DefaultEndpointsProtocol=http;AccountName={AZURITE_ACCOUNT};AccountKey={AZURITE_KEY};"
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", f"{connection}BlobEndpoint={url}")
        assert listed_and_read(bronze) == {"a.tif": CONTENT}
        monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_URL", url)
        monkeypatch.setenv("AZURE_STORAGE_KEY", AZURITE_KEY)
        assert listed_and_read(bronze) == {"a.tif": CONTENT}
