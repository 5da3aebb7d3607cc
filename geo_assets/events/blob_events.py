"""Blob events: what a message of Event Grid says, in either of its schemas.

Here: from the bytes of a message to events, none of which is trusted. Not here: queues (`geo_assets.resources`), which
sources an event concerns (`events.looks`).

Sources: Azure Blob Storage as an Event Grid source (learn.microsoft.com/azure/event-grid/event-schema-blob-storage),
CloudEvents 1.0 in JSON, and its extension for distributed tracing.
"""

import binascii
import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Literal
from urllib.parse import unquote_to_bytes

from geo_assets.errors import MalformedMessage

CREATED_APIS = frozenset({"PutBlob", "PutBlockList", "CopyBlob", "FlushWithClose", "SftpCommit"})
"""The calls after which a blob is complete; CreateFile and SftpCreate come before its content."""
_APIS = {
    "Microsoft.Storage.BlobCreated": CREATED_APIS,
    "Microsoft.Storage.BlobDeleted": frozenset({"DeleteBlob", "DeleteFile", "SftpRemove"}),
    "Microsoft.Storage.BlobRenamed": frozenset({"RenameFile", "SftpRename"}),
}
_URL = re.compile(r"https?://(?P<host>\[[0-9a-f:.]+\]|[^/?#@:\[\]\s]+)(?::\d{1,5})?/(?P<path>.*)", re.DOTALL | re.I)
_ACCOUNT_HOST = re.compile(r"(?P<account>[a-z0-9-]+?)(?:-secondary)?(?:\.z\d+)?\.(?:blob|dfs)\..+")
_ADDRESS_HOST = re.compile(r"\[.*|[0-9.]+|[^.]+")
_CONTAINER = re.compile(r"\$[a-z]+|[a-z0-9](?:-?[a-z0-9]){2,62}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?P<trace_id>[0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")
_LONGEST_NAME = 1024
_LONGEST_ID = 200
_SEQUENCER_WIDTH = 64
_BOM = b"\xef\xbb\xbf"
_UNREADABLE = re.compile(
    r"Of its entries \(counted from 0\) these cannot be read: (?P<numbers>\d+(?:-\d+)?(?:, \d+(?:-\d+)?)*)\."
)
_MOST_SAID = 3  # entries of an array of which each is said what is wrong with it


@dataclass(frozen=True, slots=True)
class BlobEvent:
    """A hint that a blob came, changed or went.

    ``account`` is the storage account's name, ``name`` the blob's full name in its container, percent-decoded.
    ``sequencer`` is padded, so that it compares as a string among the events of one blob. ``etag`` has no quotes.
    ``correlation_id`` is the trace id of a CloudEvent's traceparent, else the client's request id, else the event's.
    """

    kind: Literal["created", "deleted"]
    account: str
    container: str
    name: str
    event_id: str
    event_time: datetime
    sequencer: str | None = None
    etag: str | None = None
    correlation_id: str | None = None


@dataclass(frozen=True, slots=True)
class Dropped:
    """An event that concerns no blob of any source: ``reason`` is counted, ``detail`` says more to a person."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class UnreadableEntry:
    """An entry of an array that is no event: its ``number``, from 0 on, and what is wrong with it."""

    number: int
    said: str


def read_events(body: bytes) -> list[BlobEvent | Dropped | UnreadableEntry]:
    """The events of one message: JSON or base64 of JSON, one event or an array, as EventGridEvent or CloudEvent 1.0.

    A renamed blob is one that went and one that came. Raises MalformedMessage, which says what is wrong and where, if
    nothing in the message can be read.
    """
    document = _decode(body)
    if not isinstance(document, list):
        return list(_read(_Object.of(document, "")))
    if not document:
        raise MalformedMessage("The message is an empty array.")
    events: list[BlobEvent | Dropped | UnreadableEntry] = []
    for number, entry in enumerate(document):
        try:
            events += list(_read(_Object.of(entry, f"[{number}]")))
        except MalformedMessage as error:
            events.append(UnreadableEntry(number, error.message))
    unreadable = [event for event in events if isinstance(event, UnreadableEntry)]
    if len(unreadable) == len(events):
        raise MalformedMessage(unreadable[0].said)
    return events


def name_unreadable(unreadable: Sequence[UnreadableEntry]) -> str:
    """Which entries of a message cannot be read and why, as `unreadable_entries` finds them again."""
    numbers = ", ".join(_ranges([each.number for each in unreadable]))
    reasons = " ".join(each.said for each in unreadable[:_MOST_SAID])
    return f"Of its entries (counted from 0) these cannot be read: {numbers}. The others were taken. {reasons}"


def unreadable_entries(said: str) -> frozenset[int]:
    """The numbers that `name_unreadable` said; none where something else was said."""
    match = _UNREADABLE.match(said)
    parts = [part.partition("-") for part in match["numbers"].split(", ")] if match is not None else []
    return frozenset(number for first, _, last in parts for number in range(int(first), int(last or first) + 1))


def pick_entries(body: bytes, numbers: Collection[int]) -> bytes:
    """The array of these entries of a message; the message itself where it is no array that has them."""
    try:
        document = _decode(body)
    except MalformedMessage:
        return body
    if not isinstance(document, list) or not numbers or max(numbers) >= len(document):
        return body
    picked = json.dumps([document[number] for number in sorted(numbers)], separators=(",", ":")).encode()
    return picked if len(picked) <= len(body) else body


def account_of(url: str) -> str:
    """The storage account in the address of a blob or of an account. Raises MalformedMessage where there is none."""
    return _split(url, "url")[0]


@dataclass(frozen=True, slots=True)
class _Object:
    """A JSON object and where in the document it is."""

    values: dict[str, Any]
    path: str

    @classmethod
    def of(cls, value: object, path: str) -> "_Object":
        if not isinstance(value, dict):
            raise MalformedMessage(f"{path or 'The message'} is {_kind(value)}, where an object is expected.")
        return cls(value, path)

    def at(self, key: str) -> str:
        return f"{self.path}.{key}".lstrip(".")

    def part(self, key: str) -> "_Object":
        if self.values.get(key) is None:
            raise MalformedMessage(f"{self.at(key)} is missing.")
        return _Object.of(self.values[key], self.at(key))

    def text(self, key: str) -> str:
        value = self.optional_text(key)
        if value is None:
            raise MalformedMessage(f"{self.at(key)} is missing.")
        return value

    def optional_text(self, key: str) -> str | None:
        value = self.values.get(key)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            raise MalformedMessage(f"{self.at(key)} is {_kind(value)}, where a string is expected.")
        _check_characters(value, self.at(key))
        return value

    def moment(self, key: str) -> datetime:
        text = self.text(key)
        try:
            moment = datetime.fromisoformat(text)
            if moment.tzinfo is not None:
                return moment.astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise MalformedMessage(f"{self.at(key)} is no date and time: {text[:100]!r}.") from error
        raise MalformedMessage(f"{self.at(key)} has no time zone: {text[:100]!r}.")


def _decode(body: bytes) -> object:
    text = body.removeprefix(_BOM).strip()
    if not text:
        raise MalformedMessage("The message is empty.")
    if text[:1] not in (b"{", b"["):
        text = _decode_base64(text)
    try:
        document: object = json.loads(text.decode())
    except UnicodeDecodeError as error:
        raise MalformedMessage(f"The message is no UTF-8: {error.reason} at byte {error.start}.") from error
    except RecursionError as error:
        raise MalformedMessage("The message is nested too deeply.") from error
    except ValueError as error:
        raise MalformedMessage(f"The message is no JSON: {error}.") from error
    return document


def _decode_base64(text: bytes) -> bytes:
    """What base64 in either alphabet says; white space and missing padding do no harm."""
    packed = b"".join(text.split()).translate(bytes.maketrans(b"-_", b"+/")).rstrip(b"=")
    try:
        decoded = binascii.a2b_base64(packed + b"=" * (-len(packed) % 4), strict_mode=True)
    except binascii.Error as error:
        raise MalformedMessage(f"The message is neither a JSON object or array nor base64: {error}.") from error
    decoded = decoded.removeprefix(_BOM).strip()
    if decoded[:1] not in (b"{", b"["):
        raise MalformedMessage("The message is base64, but not of a JSON object or array.")
    return decoded


def _read(entry: _Object) -> Iterator[BlobEvent | Dropped]:
    """The events of one entry; what is needed of it is checked only where its type is known."""
    is_cloud_event = "specversion" in entry.values
    if is_cloud_event and (version := entry.text("specversion")) != "1.0":
        raise MalformedMessage(f"{entry.at('specversion')} is {version[:20]!r}, where 1.0 is expected.")
    if not is_cloud_event and "eventType" not in entry.values:
        raise MalformedMessage(
            f"{entry.path or 'The message'} has neither eventType, as an event of Event Grid's schema has, nor "
            "specversion, as a CloudEvent has."
        )
    event_type = entry.text("type" if is_cloud_event else "eventType")
    event_id = _tidy(entry.text("id"))
    apis = _APIS.get(event_type)
    if apis is None:
        yield Dropped("unknown_event_type", f"event {event_id} is a {event_type[:200]}")
        return
    data = entry.part("data")
    api = data.optional_text("api")
    if api is not None and api not in apis:
        yield Dropped("unknown_api", f"event {event_id} is a {event_type} by {api[:200]}")
        return
    yield from _blob_events(entry, data, event_type, event_id, "time" if is_cloud_event else "eventTime")


def _blob_events(entry: _Object, data: _Object, event_type: str, event_id: str, time_key: str) -> Iterator[BlobEvent]:
    sequencer, etag = data.optional_text("sequencer"), data.optional_text("eTag")
    created = BlobEvent(
        kind="created",
        account="",
        container="",
        name="",
        event_id=event_id,
        event_time=entry.moment(time_key),
        sequencer=sequencer and sequencer[:_LONGEST_ID].rjust(_SEQUENCER_WIDTH, "0"),
        etag=etag and etag.strip('"'),
        correlation_id=_correlation_id(entry, data, event_id),
    )
    deleted = replace(created, kind="deleted", etag=None)
    if event_type.endswith("BlobRenamed"):
        places = [(deleted, "sourceUrl"), (created, "destinationUrl")]
    else:
        places = [(created if event_type.endswith("BlobCreated") else deleted, "url")]
    for event, key in places:
        account, container, name = _split_blob_url(data.text(key), data.at(key))
        yield replace(event, account=account, container=container, name=name)


def _correlation_id(entry: _Object, data: _Object, event_id: str) -> str:
    trace = _TRACEPARENT.fullmatch(entry.optional_text("traceparent") or "")
    if trace is not None:
        return trace["trace_id"]
    return _tidy(data.optional_text("clientRequestId") or "") or event_id


def _split_blob_url(url: str, where: str) -> tuple[str, str, str]:
    """(account, container, name) of a blob's address; the name decoded once, the rest by what names may be."""
    account, path = _split(url, where)
    container, slash, name = path.partition("/")
    container = _unquoted(container, where)
    if not slash or not name:
        raise MalformedMessage(f"{where} names no blob: {url[:300]!r}.")
    if not _CONTAINER.fullmatch(container):
        raise MalformedMessage(f"{where} names no container: {container[:100]!r}.")
    name = _unquoted(name, where)
    _check_characters(name, where)
    if len(name) > _LONGEST_NAME:
        raise MalformedMessage(f"{where} has a blob's name of more than {_LONGEST_NAME:,} characters.")
    if {".", ".."} & set(name.split("/")):  # a client would take them for steps, into another container
        raise MalformedMessage(f"{where} has a segment . or .. in the blob's name: {name[:300]!r}.")
    return account, container, name


def _split(url: str, where: str) -> tuple[str, str]:
    """(account, the path below it) of an address, without its query.

    A # belongs to the name: a service reports no fragments. Where the host is a machine, the path begins with the
    account, as an emulator has it.
    """
    match = _URL.fullmatch(url.partition("?")[0] + ("" if url.count("/") > 2 else "/"))
    if match is None:
        raise MalformedMessage(f"{where} is no http address: {url[:300]!r}.")
    host, path = match["host"].lower(), match["path"]
    named = _ACCOUNT_HOST.fullmatch(host)
    if named is not None:
        return named["account"], path
    if _ADDRESS_HOST.fullmatch(host) is None:
        return host, path
    account, _, path = path.partition("/")
    if not account:
        raise MalformedMessage(f"{where} names no account: {url[:300]!r}.")
    return account.lower(), path


def _unquoted(text: str, where: str) -> str:
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError as error:
        raise MalformedMessage(f"{where} is no UTF-8 when percent-decoded: {text[:300]!r}.") from error


def _check_characters(text: str, where: str) -> None:
    """Lone halves of a surrogate pair and NUL can neither be part of a blob's name nor be stored."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise MalformedMessage(f"{where} has a character that is not valid: {text[:300]!r}.")


def _tidy(text: str) -> str:
    """An id as it can stand in a log line: printable, and not long."""
    return "".join(character if character.isprintable() else " " for character in text[:_LONGEST_ID]).strip()


def _ranges(numbers: Sequence[int]) -> Iterator[str]:
    """Rising numbers as people write them: 1, 4-7, 9."""
    for _, run in groupby(enumerate(numbers), key=lambda each: each[1] - each[0]):
        first, *rest = [number for _, number in run]
        yield f"{first}-{rest[-1]}" if rest else str(first)


def _kind(value: object) -> str:
    if value is None:
        return "null"
    kinds: dict[type, str] = {bool: "a boolean", str: "a string", list: "an array", dict: "an object"}
    return kinds.get(type(value), "a number")
