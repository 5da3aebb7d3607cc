"""When a raster was acquired: applying a source's datetime rules to one blob.

Here: the rules in order, parsing, and where the instant came from. Not here: the rules' schema
(`geo_assets.sources`), and any default: without a matching rule there is no datetime.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from geo_assets.errors import MissingDatetime
from geo_assets.models import BlobRef, RasterMetadata
from geo_assets.sources import DatetimeRule, FixedDatetime, JsonDatetime, MetadataDatetime, NameDatetime

_COLON_DATE = re.compile(r"(\d{4}):(\d\d):(\d\d)(?=$|[ T])")
_YEAR_DIRECTIVES = ("%Y", "%y", "%G", "%c", "%x")
_LAST_PLACEHOLDER_YEAR = 1

Documents = Mapping[str, Mapping[str, Any]]
"""What was read of the JSON members of a scene: {asset: {JSON pointer: value}}."""
_NO_DOCUMENTS: Documents = {}


@dataclass(frozen=True, slots=True)
class AcquisitionTime:
    """An instant in UTC, and in words where it came from."""

    instant: datetime
    origin: str

    def __post_init__(self) -> None:
        if self.instant.tzinfo is not UTC:
            raise ValueError("an acquisition time is in UTC")


class _NoDateError(Exception):
    """This rule gives no date; the message says why."""


def item_datetime(
    source_rules: Sequence[DatetimeRule],
    *,
    blob: BlobRef,
    metadata: RasterMetadata,
    documents: Documents = _NO_DOCUMENTS,
) -> AcquisitionTime:
    """The datetime of the first rule that gives one.

    A value that is absent, does not parse or is a placeholder (year 0 or 1) passes on to the next rule.
    Raises MissingDatetime, which says what each rule found.
    """
    findings = []
    for rule in source_rules:
        try:
            return _apply(rule, blob, metadata, documents)
        except _NoDateError as reason:
            findings.append(str(reason))
    raise MissingDatetime(
        f"No datetime rule gave a date ({'; '.join(findings)})." if findings else "The source has no datetime rule."
    )


def _apply(rule: DatetimeRule, blob: BlobRef, metadata: RasterMetadata, documents: Documents) -> AcquisitionTime:
    if isinstance(rule, JsonDatetime):
        return _from_document(rule, documents.get(rule.document, {}))
    if isinstance(rule, MetadataDatetime):
        return _from_metadata(rule, metadata)
    if isinstance(rule, NameDatetime):
        return _from_name(rule, blob.name)
    if isinstance(rule, FixedDatetime):
        return AcquisitionTime(rule.fixed.astimezone(UTC), "fixed by the source")
    return AcquisitionTime(blob.last_modified.astimezone(UTC), "blob last-modified")


def _from_metadata(rule: MetadataDatetime, metadata: RasterMetadata) -> AcquisitionTime:
    findings = []
    for tag in rule.metadata:
        value = _tag(metadata, tag)
        if value is None:
            findings.append(f"{tag}: not in the file")
            continue
        try:
            moment = _parse(value, rule.format)
            stated = moment.tzinfo is not None
            note = "" if stated else f", no zone stated, read as {rule.timezone}"
            return AcquisitionTime(_in_utc(moment, rule.timezone), f"metadata {tag}{note}")
        except _NoDateError as reason:
            findings.append(f"{tag}: {reason}")
    raise _NoDateError("; ".join(findings))


def _tag(metadata: RasterMetadata, tag: str) -> str | None:
    """The value of NAME in the default domain, or of DOMAIN:NAME (a domain may hold colons itself)."""
    domain, _, name = tag.rpartition(":")
    value = metadata.tags.get("", {}).get(tag) or metadata.tags.get(domain, {}).get(name)
    return value.strip() or None if value else None


def _from_name(rule: NameDatetime, name: str) -> AcquisitionTime:
    match = re.search(rule.name, name)
    text = match["date"] if match else None
    if text is None:
        raise _NoDateError("name: no match")
    try:
        moment = _parse(text, rule.format)
        note = "" if moment.tzinfo or rule.timezone == "UTC" else f", read as {rule.timezone}"
        return AcquisitionTime(_in_utc(moment, rule.timezone), f"name by {rule.format}{note}")
    except _NoDateError as reason:
        raise _NoDateError(f"name: {reason}") from None


def _from_document(rule: JsonDatetime, values: Mapping[str, Any]) -> AcquisitionTime:
    if absent := [path for path in rule.path if path not in values]:
        raise _NoDateError(f"{rule.document}: {', '.join(absent)} not in the document")
    try:
        moment = _parse("T".join(str(values[path]).strip() for path in rule.path), rule.format)
        note = "" if moment.tzinfo else f", no zone stated, read as {rule.timezone}"
        origin = f"{rule.document} {' and '.join(rule.path)}{note}"
        return AcquisitionTime(_in_utc(moment, rule.timezone), origin)
    except _NoDateError as reason:
        raise _NoDateError(f"{rule.document}: {reason}") from None


def _parse(text: str, form: str | None) -> datetime:
    """Read ``text`` by ``form``; without one, as TIFF's YYYY:MM:DD HH:MM:SS or as ISO 8601."""
    if form is not None and not any(directive in form for directive in _YEAR_DIRECTIVES):
        raise _NoDateError(f"the format {form} has no year")
    try:
        if form is not None:
            return datetime.strptime(text, form)
        return datetime.fromisoformat(_COLON_DATE.sub(r"\1-\2-\3", text, count=1))
    except ValueError:
        raise _NoDateError(f"{text[:40]!r} is no date{f' by {form}' if form else ''}") from None


def _in_utc(moment: datetime, zone: str) -> datetime:
    if moment.year <= _LAST_PLACEHOLDER_YEAR:
        raise _NoDateError(f"{moment:%Y-%m-%d} is a placeholder")
    try:
        aware = moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))
        return aware.astimezone(UTC)
    except OverflowError:
        raise _NoDateError(f"{moment:%Y-%m-%d} is out of range") from None
