"""The datetime rules of a source, one by one and in order."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import TypeAdapter

from geo_assets.errors import MissingDatetime
from geo_assets.models import BlobRef
from geo_assets.sources.source import CollectionRule, Source
from geo_assets.stac.acquisition import AcquisitionTime, datetime_fields, item_datetime
from tests.unit.core.rasters import metadata

BLOB = BlobRef(
    name="scenes/LC08_20130419_02.tif", etag="1", size_bytes=1, last_modified=datetime(2024, 5, 6, tzinfo=UTC)
)


def found(rules: list[Any], tags: dict[str, dict[str, str]] | None = None) -> AcquisitionTime:
    source = Source(
        name="s",
        url="az://c",
        collection=CollectionRule(id="c", description="d"),
        datetime=TypeAdapter(Any).validate_python(rules),
    )
    return item_datetime(source.datetime, blob=BLOB, metadata=metadata(tags=tags or {}))


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2020:01:02 03:04:05", datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2020-01-02T03:04:05Z", datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2020-01-02T03:04:05.5+02:00", datetime(2020, 1, 2, 1, 4, 5, 500_000, tzinfo=UTC)),
        (" 2020:01:02 \x00".replace("\x00", ""), datetime(2020, 1, 2, tzinfo=UTC)),
        ("2020/01/02 03:04:05", datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2020-01-02 03:04:05 UTC", datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2020-01-02T03:04:05.123456789Z", datetime(2020, 1, 2, 3, 4, 5, 123_456, tzinfo=UTC)),
        ("20200102T030405", datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("02-JAN-2020 03:04:05.5", datetime(2020, 1, 2, 3, 4, 5, 500_000, tzinfo=UTC)),
        ("02-JAN-2020 03:04:05 GMT", datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2999:01:01 00:00:00", datetime(2999, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_tag_is_read_as_tiff_or_iso_8601(text: str, instant: datetime) -> None:
    assert found([{"metadata": "TIFFTAG_DATETIME"}], {"": {"TIFFTAG_DATETIME": text}}).instant == instant


def test_a_tag_without_zone_is_read_in_the_zone_of_the_rule_and_the_origin_says_so() -> None:
    rule = {"metadata": ["ABSENT", "IMD:firstLineTime"], "timezone": "Europe/Berlin"}
    got = found([rule], {"IMD": {"firstLineTime": "2020-07-01T12:00:00"}})
    assert got.instant == datetime(2020, 7, 1, 10, tzinfo=UTC)
    assert got.origin == "metadata IMD:firstLineTime, no zone stated, read as Europe/Berlin"


def test_a_name_is_read_by_its_format() -> None:
    got = found([{"name": r"_(?P<date>\d{8})_", "format": "%Y%m%d"}])
    assert got == AcquisitionTime(datetime(2013, 4, 19, tzinfo=UTC), "name by %Y%m%d")


def test_fixed_and_last_modified_say_where_they_come_from() -> None:
    assert found([{"fixed": "2020-01-01T01:00:00+01:00"}]) == AcquisitionTime(
        datetime(2020, 1, 1, tzinfo=UTC), "fixed by the source"
    )
    assert found(["last_modified"]) == AcquisitionTime(BLOB.last_modified, "blob last-modified")


@pytest.mark.parametrize(
    "text", ["0000:00:00 00:00:00", "0001:01:01 00:00:00", "    ", "yesterday", "2020:13:01 00:00:00"]
)
def test_a_placeholder_passes_on_to_the_next_rule(text: str) -> None:
    rules = [{"metadata": "TIFFTAG_DATETIME"}, {"fixed": "2020-01-01T00:00:00Z"}]
    assert found(rules, {"": {"TIFFTAG_DATETIME": text}}).origin == "fixed by the source"


def test_without_a_match_the_error_says_what_each_rule_found() -> None:
    rules = [{"metadata": ["TIFFTAG_DATETIME", "OTHER"]}, {"name": r"(?P<date>\d{20})", "format": "%Y"}]
    with pytest.raises(
        MissingDatetime, match=r"TIFFTAG_DATETIME: 'soon' is no date; OTHER: not in the file; name: no match"
    ):
        found(rules, {"": {"TIFFTAG_DATETIME": "soon"}})


def test_a_format_without_a_year_gives_no_date_rather_than_1900() -> None:
    with pytest.raises(MissingDatetime, match="no year"):
        found([{"name": r"_(?P<date>\d{4})", "format": "%m%d"}])


def test_without_rules_there_is_no_date() -> None:
    with pytest.raises(MissingDatetime, match="no datetime rule"):
        found([])


SENTINEL = {"": {"PRODUCT_START_TIME": "2020-01-02T10:00:00.024Z", "PRODUCT_STOP_TIME": "2020-01-02T10:00:30.024Z"}}
RANGE = {"start": "PRODUCT_START_TIME", "end": ["ABSENT", "PRODUCT_STOP_TIME"]}


def test_two_tags_make_a_range_and_both_origins_are_said() -> None:
    got = found([RANGE], SENTINEL)
    assert datetime_fields(got) == {
        "datetime": "2020-01-02T10:00:00.024000Z",
        "start_datetime": "2020-01-02T10:00:00.024000Z",
        "end_datetime": "2020-01-02T10:00:30.024000Z",
    }
    assert got.origin == "start by metadata PRODUCT_START_TIME; end by metadata PRODUCT_STOP_TIME"


def test_a_range_takes_the_zone_of_its_rule() -> None:
    tags = {"": {"a": "2020-07-01T12:00:00", "b": "2020-07-01T13:00:00"}}
    got = found([{"start": "a", "end": "b", "timezone": "Europe/Berlin"}], tags)
    assert (got.instant, got.end) == (datetime(2020, 7, 1, 10, tzinfo=UTC), datetime(2020, 7, 1, 11, tzinfo=UTC))


def test_a_range_of_one_instant_is_that_instant() -> None:
    assert datetime_fields(found([{"start": "a", "end": "a"}], {"": {"a": "2020-01-01"}})) == {
        "datetime": "2020-01-01T00:00:00Z"
    }


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"PRODUCT_START_TIME": "2020-01-02"}, "PRODUCT_STOP_TIME: not in the file"),
        ({"PRODUCT_START_TIME": "2020-01-02", "PRODUCT_STOP_TIME": "soon"}, "'soon' is no date"),
        ({"PRODUCT_START_TIME": "2020-01-02", "PRODUCT_STOP_TIME": "2020-01-01"}, "is after end"),
    ],
)
def test_half_a_range_or_one_that_runs_backwards_is_none(tags: dict[str, str], words: str) -> None:
    with pytest.raises(MissingDatetime, match=words):
        found([RANGE], {"": tags})


def test_a_time_dimension_that_is_not_there_passes_on_to_the_next_rule() -> None:
    assert found(["time_dimension", "last_modified"]).instant == BLOB.last_modified
    with pytest.raises(MissingDatetime, match="no time coordinate"):
        found(["time_dimension"])
