"""When a raster was acquired: applying a source's datetime rules to one blob.

Here: the rules in order, parsing, and where the instant came from. Not here: the rules' schema
(`geo_assets.sources.source`), and any default: without a matching rule there is no datetime, but for files whose CF
time coordinate states it outright.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from geo_assets.display import rfc3339
from geo_assets.errors import MissingDatetime
from geo_assets.models import BlobRef
from geo_assets.sources.item_rules import (
    DatetimeRule,
    FixedDatetime,
    JsonDatetime,
    MetadataDatetime,
    NameDatetime,
    RangeDatetime,
    TimeDimensionDatetime,
)

_DATE = re.compile(r"^(\d{4})[:/](\d\d)[:/](\d\d)(?=$|[ T])")
_ZONE_IN_WORDS = re.compile(r" ?(?:UTC|GMT)$")
_OTHER_FORMS = ("%d-%b-%Y %H:%M:%S.%f", "%d-%b-%Y %H:%M:%S", "%d-%b-%Y")
"""Of ENVISAT, ERS and their kin: 19-APR-2013 17:56:31.123456."""
_YEAR_DIRECTIVES = ("%Y", "%y", "%G", "%c", "%x")
_LAST_PLACEHOLDER_YEAR = 1

Documents = Mapping[str, Mapping[str, Any]]
"""What was read of the JSON members of a scene: {asset: {JSON pointer: value}}."""
_NO_DOCUMENTS: Documents = {}


class Dated(Protocol):
    """What a file says that may hold its date: a raster's metadata, or less."""

    @property
    def tags(self) -> Mapping[str, Mapping[str, str]]:
        """{domain: {name: value}}, "" the default domain."""
        ...

    @property
    def time_range(self) -> tuple[datetime, datetime] | None:
        """What its time coordinate spans."""
        ...


@dataclass(frozen=True, slots=True)
class AcquisitionTime:
    """An instant in UTC, or the first instant of a range and its ``end``, and in words where they came from."""

    instant: datetime
    origin: str
    end: datetime | None = None

    def __post_init__(self) -> None:
        if self.instant.tzinfo is not UTC or (self.end is not None and self.end.tzinfo is not UTC):
            raise ValueError("an acquisition time is in UTC")


def datetime_fields(acquired: AcquisitionTime) -> dict[str, Any]:
    """STAC's datetime of an instant; of a range its start, with start_datetime and end_datetime.

    STAC takes null there too, but PgSTAC drops what is null, and an item without datetime is none.
    """
    start = rfc3339(acquired.instant)
    if acquired.end is None or acquired.end == acquired.instant:
        return {"datetime": start}
    return {"datetime": start, "start_datetime": start, "end_datetime": rfc3339(acquired.end)}


class _NoDateError(Exception):
    """This rule gives no date; the message says why."""


def item_datetime(
    source_rules: Sequence[DatetimeRule],
    *,
    blob: BlobRef,
    metadata: Dated,
    documents: Documents = _NO_DOCUMENTS,
) -> AcquisitionTime:
    """The datetime of the first rule that gives one.

    A value that is absent, does not parse or is a placeholder (year 0 or 1) passes on to the next rule.
    Where none does, the file's own time coordinate counts, which needs no rule: CF says what it means.
    Raises MissingDatetime, which says what each rule found.
    """
    findings = []
    for rule in (*source_rules, *([TimeDimensionDatetime(time_dimension=True)] if metadata.time_range else [])):
        try:
            return _apply(rule, blob, metadata, documents)
        except _NoDateError as reason:
            findings.append(str(reason))
    raise MissingDatetime(
        f"No datetime rule gave a date ({'; '.join(findings)})." if findings else "The source has no datetime rule."
    )


def _apply(rule: DatetimeRule, blob: BlobRef, metadata: Dated, documents: Documents) -> AcquisitionTime:
    if isinstance(rule, JsonDatetime):
        return _from_document(rule, documents.get(rule.document, {}))
    if isinstance(rule, MetadataDatetime):
        return _from_metadata(rule, metadata)
    if isinstance(rule, NameDatetime):
        return _from_name(rule, blob.name)
    if isinstance(rule, RangeDatetime):
        return _range_from_metadata(rule, metadata)
    if isinstance(rule, TimeDimensionDatetime):
        if metadata.time_range is None:
            raise _NoDateError("time_dimension: the file has no time coordinate that is one")
        first, last = (instant.astimezone(UTC) for instant in metadata.time_range)
        return AcquisitionTime(first, "time coordinate of the file", last)
    if isinstance(rule, FixedDatetime):
        return AcquisitionTime(rule.fixed.astimezone(UTC), "fixed by the source")
    return AcquisitionTime(blob.last_modified.astimezone(UTC), "blob last-modified")


def _from_metadata(rule: MetadataDatetime, metadata: Dated) -> AcquisitionTime:
    findings = []
    for tag in rule.metadata:
        value = _tag(metadata, tag)
        if value is None:
            findings.append(f"{tag}: not in the file")
            continue
        try:
            return _acquired(_parse(value, rule.format), rule.timezone, f"metadata {tag}")
        except _NoDateError as reason:
            findings.append(f"{tag}: {reason}")
    raise _NoDateError("; ".join(findings))


def _range_from_metadata(rule: RangeDatetime, metadata: Dated) -> AcquisitionTime:
    """Both ends, each as `MetadataDatetime` would give it; one alone, or an end before its start, is no range."""
    first, last = (
        _from_metadata(MetadataDatetime(metadata=tags, format=rule.format, timezone=rule.timezone), metadata)
        for tags in (rule.start, rule.end)
    )
    if last.instant < first.instant:
        raise _NoDateError(f"start {first.instant:%Y-%m-%d %H:%M:%S} is after end {last.instant:%Y-%m-%d %H:%M:%S}")
    return AcquisitionTime(first.instant, f"start by {first.origin}; end by {last.origin}", last.instant)


def _tag(metadata: Dated, tag: str) -> str | None:
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
        return _acquired(moment, rule.timezone, f"{rule.document} {' and '.join(rule.path)}")
    except _NoDateError as reason:
        raise _NoDateError(f"{rule.document}: {reason}") from None


def _acquired(moment: datetime, zone: str, origin: str) -> AcquisitionTime:
    """The instant, in ``zone`` where it states none itself, which its origin then says."""
    note = "" if moment.tzinfo else f", no zone stated, read as {zone}"
    return AcquisitionTime(_in_utc(moment, zone), f"{origin}{note}")


def _parse(text: str, form: str | None) -> datetime:
    """Read ``text`` by ``form``; without one, as TIFF's YYYY:MM:DD HH:MM:SS, ISO 8601, or 19-APR-2013 17:56:31."""
    if form is not None and not any(directive in form for directive in _YEAR_DIRECTIVES):
        raise _NoDateError(f"the format {form} has no year")
    try:
        if form is not None:
            return datetime.strptime(text, form)
        return _read_date(_ZONE_IN_WORDS.sub("+00:00", _DATE.sub(r"\1-\2-\3", text)))
    except ValueError:
        raise _NoDateError(f"{text[:40]!r} is no date{f' by {form}' if form else ''}") from None


def _read_date(text: str) -> datetime:
    """ISO 8601, or one of `_OTHER_FORMS`; raises ValueError."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        plain, zone = (text.removesuffix("+00:00"), UTC) if text.endswith("+00:00") else (text, None)
        for form in _OTHER_FORMS:
            with suppress(ValueError):
                return datetime.strptime(plain, form).replace(tzinfo=zone)
        raise


def _in_utc(moment: datetime, zone: str) -> datetime:
    if moment.year <= _LAST_PLACEHOLDER_YEAR:
        raise _NoDateError(f"{moment:%Y-%m-%d} is a placeholder")
    try:
        aware = moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))
        return aware.astimezone(UTC)
    except OverflowError:
        raise _NoDateError(f"{moment:%Y-%m-%d} is out of range") from None
