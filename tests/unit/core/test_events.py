"""Messages as Event Grid sends them, as people send them, and as nobody should."""

import base64
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo_assets.errors import MalformedMessage
from geo_assets.events.blob_events import (
    BlobEvent,
    Dropped,
    UnreadableEntry,
    account_of,
    name_unreadable,
    pick_entries,
    read_events,
    unreadable_entries,
)

AT = "https://rasters.blob.core.windows.net"
URL = f"{AT}/bronze/a/b.tif"


def data(url: str = URL, **fields: Any) -> dict[str, Any]:
    return {
        "api": "PutBlob",
        "url": url,
        "eTag": '"0x8D"',
        "sequencer": "00ab",
        "clientRequestId": "client-1",
        **fields,
    }


def grid(url: str = URL, **fields: Any) -> dict[str, Any]:
    """An event in Event Grid's own schema."""
    event = {
        "topic": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/rasters",
        "subject": "/blobServices/default/containers/bronze/blobs/somewhere/else.tif",
        "eventType": "Microsoft.Storage.BlobCreated",
        "eventTime": "2024-05-06T07:08:09.1234567Z",
        "id": "event-1",
        "data": data(url),
        "dataVersion": "",
        "metadataVersion": "1",
    }
    return {key: value for key, value in {**event, **fields}.items() if value != "absent"}


def cloud(url: str = URL, **fields: Any) -> dict[str, Any]:
    """An event as a CloudEvent."""
    event = {
        "specversion": "1.0",
        "type": "Microsoft.Storage.BlobCreated",
        "source": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/rasters",
        "time": "2024-05-06T09:08:09.123456+02:00",
        "id": "event-1",
        "data": data(url),
    }
    return {key: value for key, value in {**event, **fields}.items() if value != "absent"}


def dumped(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()


EVENT = BlobEvent(
    kind="created",
    account="rasters",
    container="bronze",
    name="a/b.tif",
    event_id="event-1",
    event_time=datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC),
    sequencer="00ab".rjust(64, "0"),
    etag="0x8D",
    correlation_id="client-1",
)


@pytest.mark.parametrize(
    "body",
    [
        dumped(grid()),
        dumped(cloud()),
        dumped([grid()]),
        dumped([cloud()]),
        b"\xef\xbb\xbf" + dumped(grid()),
        b"  \r\n" + dumped(grid()) + b"\n",
        base64.b64encode(dumped(grid())),
        base64.b64encode(b"\xef\xbb\xbf" + dumped(cloud())),
        base64.b64encode(dumped([cloud()])).rstrip(b"="),
        base64.encodebytes(dumped(grid())),
        base64.urlsafe_b64encode(dumped(grid(topic="\u00ff\u00fe\u00ff???>>>"))),
        dumped(grid(topic="absent", subject="absent", dataVersion="absent", metadataVersion="absent")),
        dumped(grid(data={**data(), "api": None})),
        dumped(cloud(source="absent", dataschema="#", unknown={"a": [1]})),
    ],
)
def test_an_event_is_read_in_either_schema_and_every_wrapping(body: bytes) -> None:
    assert read_events(body) == [EVENT]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a%20b/gr%C3%B6%C3%9Fe.tif", "a b/größe.tif"),
        ("größe.tif", "größe.tif"),
        ("a%23b.tif", "a#b.tif"),
        ("a#b.tif", "a#b.tif"),
        ("a%2Fb.tif", "a/b.tif"),
        ("a%3Fb.tif", "a?b.tif"),
        ("a%253Fb.tif", "a%3Fb.tif"),
        ("a+b.tif", "a+b.tif"),
        ("a//b.tif", "a//b.tif"),
        ("/b.tif", "/b.tif"),
        ("b.tif%20%20", "b.tif  "),
        ("%0A.tif", "\n.tif"),
        ("a/..b/c...tif", "a/..b/c...tif"),
        ("b.tif?snapshot=2024-05-06T07:08:09Z", "b.tif"),
        ("b.tif?sig=a/b#c", "b.tif"),
        ("%F0%9F%9B%B0.tif", "🛰.tif"),
        ("x" * 1024, "x" * 1024),
    ],
)
def test_a_name_is_percent_decoded_once_and_ends_where_the_query_begins(path: str, name: str) -> None:
    (event,) = read_events(dumped(grid(f"{AT}/bronze/{path}")))
    assert isinstance(event, BlobEvent)
    assert (event.container, event.name) == ("bronze", name)


@pytest.mark.parametrize(
    ("url", "account", "container"),
    [
        ("https://rasters.dfs.core.windows.net/bronze/a", "rasters", "bronze"),
        ("https://RASTERS.blob.core.windows.net:443/bronze/a", "rasters", "bronze"),
        ("https://rasters-secondary.blob.core.windows.net/bronze/a", "rasters", "bronze"),
        ("https://rasters.z12.blob.storage.azure.net/bronze/a", "rasters", "bronze"),
        ("https://rasters.blob.core.chinacloudapi.cn/bronze/a", "rasters", "bronze"),
        ("http://127.0.0.1:10000/devstoreaccount1/bronze/a", "devstoreaccount1", "bronze"),
        ("http://[::1]:10000/devstoreaccount1/bronze/a", "devstoreaccount1", "bronze"),
        ("http://azurite:10000/devstoreaccount1/bronze/a", "devstoreaccount1", "bronze"),
        ("https://data.example.org/bronze/a", "data.example.org", "bronze"),
        ("https://rasters.blob.core.windows.net/%24web/a", "rasters", "$web"),
    ],
)
def test_the_account_is_that_of_the_host_or_the_first_of_the_path(url: str, account: str, container: str) -> None:
    (event,) = read_events(dumped(cloud(url)))
    assert isinstance(event, BlobEvent)
    assert (event.account, event.container, event.name) == (account, container, "a")


def test_the_address_of_an_account_names_it() -> None:
    assert account_of("http://127.0.0.1:10000/devstoreaccount1") == "devstoreaccount1"
    assert account_of("https://rasters.blob.core.windows.net") == "rasters"
    assert account_of("https://rasters.blob.core.windows.net/") == "rasters"


@pytest.mark.parametrize("api", ["PutBlob", "PutBlockList", "CopyBlob", "FlushWithClose", "SftpCommit"])
def test_every_call_that_completes_a_blob_creates_it(api: str) -> None:
    assert read_events(dumped(grid(data=data(api=api)))) == [EVENT]


@pytest.mark.parametrize("api", ["DeleteBlob", "DeleteFile", "SftpRemove"])
def test_every_call_that_removes_a_blob_deletes_it(api: str) -> None:
    (event,) = read_events(dumped(cloud(type="Microsoft.Storage.BlobDeleted", data=data(api=api))))
    assert isinstance(event, BlobEvent)
    assert (event.kind, event.name, event.etag) == ("deleted", "a/b.tif", None)


def test_a_renamed_blob_is_one_that_went_and_one_that_came() -> None:
    renamed = {"api": "RenameFile", "sourceUrl": f"{AT}/bronze/old.tif", "destinationUrl": f"{AT}/bronze/new%20.tif"}
    events = read_events(dumped(grid(eventType="Microsoft.Storage.BlobRenamed", data=renamed)))
    assert [(event.kind, event.name) for event in events if isinstance(event, BlobEvent)] == [
        ("deleted", "old.tif"),
        ("created", "new .tif"),
    ]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (grid(eventType="Microsoft.Storage.DirectoryCreated", data={}), "unknown_event_type"),
        (grid(eventType="Microsoft.Storage.BlobTierChanged"), "unknown_event_type"),
        (grid(eventType="Microsoft.EventGrid.SubscriptionValidationEvent", data="absent"), "unknown_event_type"),
        (cloud(type="com.example.anything", data=[1], time="absent"), "unknown_event_type"),
        (grid(data=data(api="CreateFile")), "unknown_api"),
        (grid(data=data(api="DeleteBlob")), "unknown_api"),
    ],
)
def test_an_event_of_nothing_that_we_follow_is_dropped_with_a_reason(document: object, reason: str) -> None:
    (dropped,) = read_events(dumped(document))
    assert isinstance(dropped, Dropped)
    assert dropped.reason == reason
    assert "event-1" in dropped.detail


def test_the_correlation_id_is_of_the_trace_then_the_request_then_the_event() -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    bodies = [
        cloud(traceparent=f"00-{trace}-b7ad6b7169203331-01"),
        cloud(traceparent="nonsense"),
        cloud(data=data(clientRequestId=None)),
        cloud(data=data(clientRequestId="a\nb" + "c" * 500)),
    ]
    ids = [event.correlation_id for event in read_events(dumped(bodies)) if isinstance(event, BlobEvent)]
    assert ids == [trace, "client-1", "event-1", "a b" + "c" * 197]


def test_sequencers_compare_as_strings_whatever_their_length() -> None:
    bodies = [grid(data=data(sequencer=sequencer)) for sequencer in ("9", "00000000000000000000000000028963", "1f")]
    padded = [event.sequencer for event in read_events(dumped(bodies)) if isinstance(event, BlobEvent)]
    assert sorted(range(3), key=lambda at: str(padded[at])) == [0, 2, 1]


def test_an_array_keeps_its_order_and_what_is_dropped_has_its_place() -> None:
    bodies = [grid(), cloud(type="other"), cloud(f"{AT}/silver/x.tif")]
    kinds = [type(event) for event in read_events(dumped(bodies))]
    assert kinds == [BlobEvent, Dropped, BlobEvent]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "is empty"),
        (b" \n\xef\xbb\xbf"[1:2], "is empty"),
        (b"hello, world", "neither a JSON object or array nor base64"),
        (b"<xml/>", "neither"),
        (b'"a string"', "neither"),
        (b"12", "base64, but not of a JSON"),
        (b"null", "base64, but not of a JSON"),
        (base64.b64encode(b"hello"), "base64, but not of a JSON"),
        (base64.b64encode(base64.b64encode(dumped(grid()))), "base64, but not of a JSON"),
        (base64.b64encode(dumped(grid()))[:-21], "no JSON"),
        (b"e30=e30=", "neither"),
        (dumped(grid())[:-9], "no JSON"),
        (dumped(grid()) + b"x", "no JSON"),
        (b'{"a": \xff}', "no UTF-8: invalid start byte at byte 6"),
        (dumped(grid()).decode().encode("utf-16"), "neither"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a": ' + b"1" * 5000 + b"}", "no JSON"),
        (b"[]", "empty array"),
        (b"{}", "neither eventType"),
        (b"[[]]", "[0] is an array, where an object is expected"),
        (b"[null]", "[0] is null"),
        (dumped([2, 1]), "[0] is a number"),
        (dumped(grid(eventType=None)), "eventType is missing"),
        (dumped(grid(eventType=7)), "eventType is a number, where a string is expected"),
        (dumped(grid(id="absent")), "id is missing"),
        (dumped(grid(id=True)), "id is a boolean"),
        (dumped(grid(data="absent")), "data is missing"),
        (dumped(grid(data="text")), "data is a string, where an object is expected"),
        (dumped(grid(data=[])), "data is an array"),
        (dumped([cloud(data={"api": "PutBlob"})]), "[0].data.url is missing"),
        (dumped(grid(data=data(api=1))), "data.api is a number"),
        (dumped(grid(data=data(eTag={}))), "data.eTag is an object"),
        (dumped(grid(data=data(sequencer=12))), "data.sequencer is a number"),
        (dumped(grid(eventTime="absent")), "eventTime is missing"),
        (dumped(grid(eventTime="yesterday")), "eventTime is no date and time: 'yesterday'"),
        (dumped(grid(eventTime="2024-05-06T07:08:09")), "eventTime has no time zone"),
        (dumped(cloud(time="0001-01-01T00:00:00+23:00")), "time is no date and time"),
        (dumped(cloud(time=1715000000)), "time is a number"),
        (dumped(cloud(specversion="0.3")), "specversion is '0.3', where 1.0 is expected"),
        (dumped(cloud(specversion=1.0)), "specversion is a number"),
        (dumped(cloud(type="absent", eventType="Microsoft.Storage.BlobCreated")), "type is missing"),
        (dumped(grid(data={"url": URL}, eventTime="absent", time="2024-05-06T07:08:09Z")), "eventTime is missing"),
        (dumped(grid("bronze/a.tif")), "data.url is no http address"),
        (dumped(grid("file:///etc/passwd")), "data.url is no http address"),
        (dumped(grid("https://user:key@rasters.blob.core.windows.net/bronze/a")), "data.url is no http address"),
        (dumped(grid("https://rasters.blob.core.windows.net")), "data.url names no blob"),
        (dumped(grid(f"{AT}/bronze")), "data.url names no blob"),
        (dumped(grid(f"{AT}/bronze/")), "data.url names no blob"),
        (dumped(grid(f"{AT}/bronze/?a=b")), "data.url names no blob"),
        (dumped(grid(f"{AT}//a.tif")), "data.url names no container"),
        (dumped(grid(f"{AT}/BRONZE/a.tif")), "data.url names no container"),
        (dumped(grid(f"{AT}/bronze%2Fa/b.tif")), "data.url names no container: 'bronze/a'"),
        (dumped(grid(f"{AT}/../a.tif")), "data.url names no container"),
        (dumped(grid("http://127.0.0.1:10000/")), "data.url names no account"),
        (dumped(grid(f"{AT}/bronze/../silver/a.tif")), "has a segment . or .."),
        (dumped(grid(f"{AT}/bronze/a/%2E%2E/%2e%2e/silver/a.tif")), "has a segment . or .."),
        (dumped(grid(f"{AT}/bronze/..%2Fsilver/a.tif")), "has a segment . or .."),
        (dumped(grid(f"{AT}/bronze/./a.tif")), "has a segment . or .."),
        (dumped(grid(f"{AT}/bronze/%ff.tif")), "no UTF-8 when percent-decoded"),
        (dumped(grid(f"{AT}/bronze/a%00.tif")), "has a character that is not valid"),
        (json.dumps(grid(f"{AT}/bronze/\ud800.tif")).encode(), "has a character that is not valid"),
        (
            json.dumps(grid(data=data(clientRequestId="\0"))).encode(),
            "data.clientRequestId has a character that is not valid",
        ),
        (dumped(grid(f"{AT}/bronze/{'x' * 1025}")), "more than 1,024 characters"),
        (dumped(grid(eventType="Microsoft.Storage.BlobRenamed", data={"sourceUrl": URL})), "destinationUrl is missing"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(body: bytes, says: str) -> None:
    with pytest.raises(MalformedMessage) as caught:
        read_events(body)
    assert says in caught.value.message


def test_of_an_array_what_can_be_read_is_read_and_the_rest_is_named() -> None:
    body = dumped([7, grid(), grid(eventTime="absent"), None, 8, cloud(), 9])
    events = read_events(base64.b64encode(body))
    assert [event for event in events if not isinstance(event, UnreadableEntry)] == [EVENT, EVENT]
    unreadable = [event for event in events if isinstance(event, UnreadableEntry)]
    said = name_unreadable(unreadable)
    assert said.startswith("Of its entries (counted from 0) these cannot be read: 0, 2-4, 6. The others were taken. ")
    assert "[2].eventTime is missing." in said
    assert unreadable_entries(said) == {0, 2, 3, 4, 6}
    picked = pick_entries(base64.b64encode(body), unreadable_entries(said))
    assert json.loads(picked) == [7, grid(eventTime="absent"), None, 8, 9]


@pytest.mark.parametrize("said", ["", "eventTime is missing.", "The store says: these cannot be read: 1."])
def test_of_a_message_given_up_for_another_reason_all_is_picked(said: str) -> None:
    assert unreadable_entries(said) == frozenset()
    for body in (dumped([grid()]), dumped(grid()), b"no JSON"):
        assert pick_entries(body, unreadable_entries(said)) == body
        assert pick_entries(body, {1}) == body


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(URL),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["id", "eventType", "eventTime", "data", "specversion", "type", "time", "traceparent"])
DATA_KEYS = st.sampled_from(["api", "url", "eTag", "sequencer", "clientRequestId"])
PATHS = st.text(max_size=40).map(lambda path: grid(f"{AT}/{path}"))
DAMAGED = st.builds(
    lambda event, key, value, data_key, data_value: {
        **event,
        key: value,
        "data": {**event["data"], data_key: data_value},
    },
    st.sampled_from([grid(), cloud()]),
    KEYS,
    JSON,
    DATA_KEYS,
    JSON | st.text().map(lambda path: f"{AT}/bronze/{path}"),
)
BODIES = st.one_of(
    st.binary(max_size=200),
    st.binary(max_size=200).map(base64.b64encode),
    (JSON | DAMAGED | PATHS).map(lambda document: json.dumps(document).encode()),
    st.tuples(st.sampled_from([dumped(grid()), dumped([cloud()])]), st.integers(0, 400), st.binary(max_size=3)).map(
        lambda cut: cut[0][: cut[1]] + cut[2] + cut[0][cut[1] + 1 :]
    ),
)


@given(BODIES)
def test_any_bytes_are_events_or_a_malformed_message(body: bytes) -> None:
    try:
        events = read_events(body)
    except MalformedMessage:
        return
    for event in events:
        if isinstance(event, BlobEvent):
            assert event.event_time.tzinfo is not None
            assert event.name
            assert not {".", ".."} & set(event.name.split("/"))
            f"{event}".encode()


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30), st.booleans())
def test_a_name_that_a_client_encodes_is_read_back(name: str, in_path_style: bool) -> None:
    host = "http://127.0.0.1:10000/rasters" if in_path_style else AT
    body = dumped(grid(f"{host}/bronze/{quote(name, safe='/')}"))
    if "\0" in name or {".", ".."} & set(name.split("/")):
        with pytest.raises(MalformedMessage):
            read_events(body)
        return
    (event,) = read_events(body)
    assert isinstance(event, BlobEvent)
    assert (event.account, event.container, event.name) == ("rasters", "bronze", name)
