"""sources.yaml: what it may say, and that each mistake is named with its place and its remedy."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from geo_assets.errors import InvalidConfiguration
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.sources.item_rules import BandRule, FixedDatetime, LastModifiedDatetime, MetadataDatetime, NameDatetime
from geo_assets.sources.source import (
    CollectionRule,
    Source,
    get_source,
    load_alert_rules,
    load_queues,
    load_sources,
)
from tests.services import PROJECT

ISSUE = r"""
sources:
  landsat:
    url: az://bronze/landsat
    include: ["**/*.tif", "**/*.TIF"]
    collection: {id: landsat, title: Landsat, description: Landsat scenes, license: other}
    datetime:
      [{metadata: TIFFTAG_DATETIME}, {name: '_(?P<date>\d{8})_', format: "%Y%m%d"}, {fixed: "2020-01-01T00:00:00Z"}]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sources.yaml"


def document(**fields: Any) -> str:
    """A file of one source that is right but for ``fields``; None takes a field away."""
    right = {"url": "az://bronze/landsat", "collection": {"id": "landsat", "description": "Landsat scenes"}}
    entry = {key: value for key, value in {**right, **fields}.items() if value is not None}
    return yaml.safe_dump({"sources": {"landsat": entry}})


def load(path: Path, text: str) -> Source:
    path.write_text(text, "utf-8")
    return get_source(path, "landsat")


def error_of(path: Path, text: str) -> InvalidConfiguration:
    with pytest.raises(InvalidConfiguration) as caught:
        load(path, text)
    return caught.value


def test_the_example_of_the_design_loads(path: Path) -> None:
    source = load(path, ISSUE)
    assert (source.container, source.prefix, source.folder) == ("bronze", "landsat/", None)
    assert source.include == ("**/*.tif", "**/*.TIF")
    assert source.collection.model_dump(exclude_defaults=True) == {
        "id": "landsat",
        "title": "Landsat",
        "description": "Landsat scenes",
    }
    assert source.datetime == (
        MetadataDatetime(metadata=("TIFFTAG_DATETIME",)),
        NameDatetime(name=r"_(?P<date>\d{8})_", format="%Y%m%d"),
        FixedDatetime(fixed=datetime(2020, 1, 1, tzinfo=UTC)),
    )


def test_the_projects_own_file_loads() -> None:
    assert "demo" in load_sources(PROJECT / "sources.yaml")


def test_only_url_and_collection_are_needed(path: Path) -> None:
    source = load(path, document())
    assert (source.limit, source.exclude, source.datetime, source.item_id) == (None, (), (), "{slug}")
    assert "**/*.tif" in source.include


def test_a_single_glob_needs_no_list(path: Path) -> None:
    source = load(path, document(include="*.tif", exclude="old_*"))
    assert (source.include, source.exclude) == (("*.tif",), ("old_*",))


@pytest.mark.parametrize("spelling", ["last_modified", {"last_modified": True}])
def test_last_modified_is_asked_for_by_name(path: Path, spelling: Any) -> None:
    assert load(path, document(datetime=[spelling])).datetime == (LastModifiedDatetime(last_modified=True),)


def test_sources_keep_the_order_of_the_file(path: Path) -> None:
    entry = {"url": "az://c", "collection": {"id": "c", "description": "d"}}
    path.write_text(yaml.safe_dump({"sources": {"z": entry, "a": entry, "7": entry}}, sort_keys=False))
    assert list(load_sources(path)) == ["z", "a", "7"]


@pytest.mark.parametrize(
    ("fields", "where", "what"),
    [
        ({"colour": "red"}, "sources.landsat.colour", "Extra inputs"),
        ({"url": None}, "sources.landsat.url", "Field required"),
        ({"collection": None}, "sources.landsat.collection", "Field required"),
        ({"collection": {"id": "a b", "description": "d"}}, "sources.landsat.collection.id", "pattern"),
        ({"collection": {"id": "a"}}, "sources.landsat.collection.description", "Field required"),
        ({"limit": 0}, "sources.landsat.limit", "greater than or equal to 1"),
        ({"shards": ["2023/", ""]}, "sources.landsat.shards", "such as 2024/"),
        ({"shards": ["/2023"]}, "sources.landsat.shards", "without a slash in front"),
        ({"shards": ["2023/", "2024/", "2023/01/"]}, "sources.landsat.shards", "'2023/01/' lie in '2023/'"),
        ({"shards": ["a/", "a/"]}, "sources.landsat.shards", "lie in 'a/' as well"),
        ({"shards": ["a/"], "limit": 5}, "sources.landsat", "`limit` and `shards` cannot be combined"),
        ({"include": [1]}, "sources.landsat.include.0", "valid string"),
        ({"url": "s3://bucket/a"}, "sources.landsat", "az:// or file:"),
        ({"url": "bronze/landsat"}, "sources.landsat", "az:// or file:"),
        ({"url": "az:///landsat"}, "sources.landsat", "no container"),
        ({"url": "file://folder/a"}, "sources.landsat", "three slashes"),
        ({"item_id": "{name}"}, "sources.landsat", "{slug}, {stem}, {path}"),
        ({"item_id": "{}"}, "sources.landsat", "{slug}, {stem}, {path}"),
        ({"item_id": "{slug"}, "sources.landsat", "{slug}, {stem}, {path}"),
        ({"datetime": [{"metadata": "A", "fixed": "2020-01-01T00:00:00Z"}]}, "landsat.datetime.0", "exactly one of"),
        ({"datetime": ["last_modified", {"when": "now"}]}, "landsat.datetime.1", "exactly one of"),
        ({"datetime": [{"name": "(", "format": "%Y"}]}, "landsat.datetime.0", "not a regular expression"),
        ({"datetime": [{"name": r"\d{8}", "format": "%Y"}]}, "landsat.datetime.0", "(?P<date>...)"),
        ({"datetime": [{"name": r"(?P<date>\d{8})"}]}, "landsat.datetime.0", "Field required"),
        ({"datetime": [{"fixed": "2020-01-01T00:00:00"}]}, "landsat.datetime.0", "needs a time zone"),
        ({"datetime": [{"metadata": []}]}, "landsat.datetime.0", "at least 1"),
        ({"datetime": [{"metadata": "A", "timezone": "Mars/Base"}]}, "landsat.datetime.0", "Mars/Base"),
        ({"datetime": [{"metadata": "A", "timezone": "Europe"}]}, "landsat.datetime.0", "Europe/Berlin"),
        ({"datetime": [{"metadata": "A", "timezone": "../etc"}]}, "landsat.datetime.0", "Europe/Berlin"),
        ({"datetime": [{"metadata": "A", "timezone": ""}]}, "landsat.datetime.0", "Europe/Berlin"),
        ({"datetime": [{"metadata": "A", "fromat": "%Y"}]}, "landsat.datetime.0", "fromat"),
        ({"datetime": [{"last_modified": False}]}, "landsat.datetime.0", "True"),
    ],
)
def test_a_mistake_is_named_with_file_key_and_remedy(path: Path, fields: Any, where: str, what: str) -> None:
    error = error_of(path, document(**fields))
    assert str(path) in error.message
    assert where in error.message
    assert what in error.message
    assert error.remedy


def test_every_mistake_of_a_source_is_named_at_once(path: Path) -> None:
    message = error_of(path, document(colour="red", limit=0)).message
    assert "landsat.colour" in message
    assert "landsat.limit" in message


def test_a_name_that_is_no_partition_key_is_refused(path: Path) -> None:
    entry = {"url": "az://c", "collection": {"id": "c", "description": "d"}}
    path.write_text(yaml.safe_dump({"sources": {"land sat": entry}}))
    with pytest.raises(InvalidConfiguration, match=r"sources\.land sat.* letters, digits, - and _"):
        load_sources(path)


def test_a_missing_file_is_named_with_the_variable_that_says_where_it_is(path: Path) -> None:
    with pytest.raises(InvalidConfiguration, match=re.escape(str(path))) as caught:
        load_sources(path)
    assert "GEO_ASSETS_SOURCES" in caught.value.remedy


def test_a_folder_in_its_place_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration, match="Cannot read"):
        load_sources(tmp_path)


def test_broken_yaml_is_named_with_its_line(path: Path) -> None:
    error = error_of(path, "sources:\n  landsat:\n    url: [az://c\n    limit: 3\n")
    assert f"{path}, line 4:" in error.message
    assert error.remedy


def test_a_file_that_is_no_text_is_an_error_of_ours(path: Path) -> None:
    path.write_bytes(b"sources: \xff\xfe")
    with pytest.raises(InvalidConfiguration, match=re.escape(str(path))):
        load_sources(path)


@pytest.mark.parametrize("text", ["", "[]", "landsat: {}", "sources: [a]", "sources:"])
def test_a_file_without_a_mapping_of_sources_says_how_to_start(path: Path, text: str) -> None:
    assert "`sources:`" in error_of(path, text).remedy


def test_a_source_that_is_no_mapping_is_named(path: Path) -> None:
    assert "sources.landsat is not a mapping" in error_of(path, "sources: {landsat: az://c}").message


def test_an_unknown_source_is_refused_with_the_names_there_are(path: Path) -> None:
    path.write_text(ISSUE)
    with pytest.raises(InvalidConfiguration, match="no source 'nosuch'; it has: landsat"):
        get_source(path, "nosuch")


@pytest.mark.parametrize(
    ("url", "container", "prefix"),
    [
        ("az://bronze", "bronze", ""),
        ("az://bronze/", "bronze", ""),
        ("az://bronze/landsat", "bronze", "landsat/"),
        ("az://bronze/landsat/", "bronze", "landsat/"),
        ("az://bronze/landsat/c2", "bronze", "landsat/c2/"),
        ("az://bronze/gr%C3%B6%C3%9Fe%20%231", "bronze", "größe #1/"),
        ("az://bronze/größe 1", "bronze", "größe 1/"),
        ("az://$web/a", "$web", "a/"),
    ],
)
def test_an_az_url_has_a_container_and_a_prefix(path: Path, url: str, container: str, prefix: str) -> None:
    source = load(path, document(url=url))
    assert (source.container, source.prefix, source.folder) == (container, prefix, None)


@pytest.mark.parametrize(
    "url", ["az://bronze/a?sv=2024&sig=secret", "az://bronze/a#b", "file:///data/a?b", "file:///a#b"]
)
def test_a_url_with_a_query_or_a_fragment_is_refused_rather_than_cut(path: Path, url: str) -> None:
    message = error_of(path, document(url=url)).message
    assert "%3F" in message
    assert "secret" not in message


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("file:///data/rasters", "/data/rasters"),
        ("file://localhost/data/rasters", "/data/rasters"),
        ("file:///data/gr%C3%B6%C3%9Fe%20%231%3F", "/data/größe #1?"),
        ("file:/data/rasters", "/data/rasters"),
    ],
)
def test_a_file_url_has_a_folder(path: Path, url: str, folder: str) -> None:
    source = load(path, document(url=url))
    assert (source.container, source.prefix, source.folder) == ("", "", Path(folder))


@pytest.mark.parametrize(
    ("url", "below"),
    [
        ("file:rasters", "rasters"),
        ("file:./a/../b", "b"),
        ("file:gr%C3%B6%C3%9Fe%20%231", "größe #1"),
        ("file:50%25", "50%"),
    ],
)
def test_a_relative_file_url_is_seen_from_the_file(path: Path, url: str, below: str) -> None:
    assert load(path, document(url=url)).folder == (path.parent / below).resolve()


@pytest.mark.parametrize(
    "change",
    [
        {"item_id": "v2-{slug}"},
        {"collection": {"id": "other", "description": "Landsat scenes"}},
        {"datetime": ["last_modified"]},
        {"datetime": [{"fixed": "2020-01-02T00:00:00Z"}]},
        {"datetime": [{"metadata": "A"}]},
        {"datetime": [{"metadata": "A", "timezone": "Europe/Berlin"}]},
    ],
)
def test_a_rule_that_makes_other_items_has_another_digest(path: Path, change: dict[str, Any]) -> None:
    before = load(path, document(datetime=[{"fixed": "2020-01-01T00:00:00Z"}])).rule_digest
    assert load(path, document(**{"datetime": [{"fixed": "2020-01-01T00:00:00Z"}], **change})).rule_digest != before


@pytest.mark.parametrize(
    "change",
    [
        {"include": ["*.tiff"]},
        {"exclude": ["a*"]},
        {"limit": 5},
        {"url": "az://bronze/elsewhere"},
        {"collection": {"id": "landsat", "title": "New", "description": "Other words", "license": "CC0-1.0"}},
        {"item_id": "{slug}"},
    ],
)
def test_what_makes_no_other_items_keeps_the_digest(path: Path, change: dict[str, Any]) -> None:
    assert load(path, document(**change)).rule_digest == load(path, document()).rule_digest


def test_the_order_of_datetime_rules_is_part_of_the_digest(path: Path) -> None:
    rules = ["last_modified", {"metadata": "A"}]
    assert load(path, document(datetime=rules)).rule_digest != load(path, document(datetime=rules[::-1])).rule_digest


def test_what_the_owner_states_of_bands_is_checked_and_decides_the_items(path: Path) -> None:
    plain = load(path, document())
    stated = {"bands": [{"name": "B04", "common_name": "red"}, {}], "gsd": 10, "region": "westeurope"}
    source = load(path, document(**stated))
    assert source.bands == (BandRule(name="B04", common_name="red"), BandRule())
    for key, value in stated.items():
        assert load(path, document(**{key: value})).rule_digest != plain.rule_digest
        assert load(path, document(**{key: value})).reading_digest == plain.reading_digest


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bands": [{"name": "red"}, {"name": "red"}]}, "same name"),
        ({"bands": [{"colour": "red"}]}, "sources.landsat.bands.0.colour"),
        ({"bands": [{"center_wavelength": 0}]}, "sources.landsat.bands.0.center_wavelength"),
        ({"gsd": -1}, "sources.landsat.gsd"),
        ({"gsd": float("nan")}, "sources.landsat.gsd"),
        ({"region": ""}, "sources.landsat.region"),
        ({"read_budget": 25 * 1024 * 1024}, "at most 25,165,824 bytes"),
    ],
)
def test_a_wrong_statement_about_items_is_named(path: Path, fields: dict[str, Any], message: str) -> None:
    assert message in error_of(path, document(**fields)).message


@pytest.mark.parametrize(
    ("keys", "reading"),
    [
        ({}, "headers"),
        ({"footprint": {"tolerance_pixels": 3}}, "headers"),
        ({"statistics": True}, "statistics within 4000000"),
        ({"footprint": {"valid_data": True}, "read_budget": 70000}, "valid data by 1 pixels within 70000"),
        (
            {"statistics": True, "footprint": {"valid_data": True, "tolerance_pixels": 0.5}},
            "statistics and valid data by 0.5 pixels within 4000000",
        ),
    ],
)
def test_what_is_read_of_a_blob_has_a_digest(path: Path, keys: dict[str, Any], reading: str) -> None:
    assert load(path, document(**keys)).reading_digest == reading


def test_a_tolerance_that_would_add_area_is_refused(path: Path) -> None:
    assert "sources.landsat.footprint.tolerance_pixels" in str(
        error_of(path, document(footprint={"valid_data": True, "tolerance_pixels": -1}))
    )


def test_an_assumed_crs_is_one_that_proj_knows_and_makes_items_anew() -> None:
    def source(**fields: Any) -> Source:
        return Source(name="s", url="az://c", collection=CollectionRule(id="c", description="d"), **fields)

    plain, assumed = source(), source(assume_crs="EPSG:25832")
    assert plain.reading_digest != assumed.reading_digest
    assert plain.rule_digest != assumed.rule_digest
    assert plain.listing_digest == assumed.listing_digest
    for unknown in ("EPSG:1", "/etc/passwd", ""):
        with pytest.raises(ValidationError, match="no coordinate reference system"):
            source(assume_crs=unknown)


def test_a_rule_has_one_kind_and_a_range_both_ends() -> None:
    two_kinds = {"start": "a", "end": "b", "fixed": "2020-01-01T00:00:00Z"}
    for rule in ({"start": "a"}, two_kinds, {"time_dimension": False}):
        with pytest.raises(ValidationError):
            Source(name="s", url="az://c", collection=CollectionRule(id="c", description="d"), datetime=(rule,))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1h", 3600), ("90s", 90), ("30 min", 1800), ("1.5h", 5400), ("2 days", 172_800), ("PT15M", 900), (60, 60)],
)
def test_a_length_of_time_is_read_as_people_write_it(path: Path, text: Any, seconds: int) -> None:
    assert load(path, document(relist=text)).relist == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["often", "-1", "1 fortnight"])
def test_a_wrong_length_of_time_is_named(path: Path, text: str) -> None:
    assert "sources.landsat.relist" in error_of(path, document(relist=text)).message


def test_a_source_is_relisted_hourly_where_a_queue_serves_it_and_in_each_tick_elsewhere(path: Path) -> None:
    collection = {"id": "c", "description": "d"}
    sources = {
        "served": {"url": "az://bronze", "collection": collection},
        "told": {"url": "az://bronze", "collection": collection, "relist": "2h"},
        "folder": {"url": "file:///data", "collection": collection},
    }
    file = SourcesFile(path=str(path))
    every = {"queues": {"q": {"storage_queue": "events"}}}
    one = {"queues": {"q": {"service_bus": "events", "sources": ["folder"]}}}
    for queues, minutes in (({}, [0, 120, 0]), (every, [60, 120, 0]), (one, [0, 120, 60])):
        path.write_text(yaml.safe_dump({"sources": sources, **queues}))
        assert file.relist() == {name: timedelta(minutes=number) for name, number in zip(sources, minutes, strict=True)}


SOURCE_TEXT = """
  {name}:
    url: file:///tmp/{name}
    collection: {{id: {name}, description: x}}
    datetime: [{{fixed: "2020-01-01T00:00:00Z"}}]
"""


@pytest.mark.parametrize(
    ("text", "key", "lines"),
    [
        ("sources:" + 2 * SOURCE_TEXT.format(name="a"), "sources.a", (2, 7)),
        ("sources:" + SOURCE_TEXT.format(name="a") + "    url: file:///tmp/b\n", "sources.a.url", (3, 6)),
        ("sources:" + SOURCE_TEXT.format(name="a") + "    cogs: {url: x, url: y}\n", "sources.a.cogs.url", (6, 6)),
        (
            "sources:" + SOURCE_TEXT.format(name="a") + "    group:\n    - {name: x}\n    - name: x\n      name: y\n",
            "sources.a.group.name",
            (8, 9),
        ),
        ("sources:" + SOURCE_TEXT.format(name="a") + "sources: {}\n", "sources", (1, 6)),
        ("sources:" + SOURCE_TEXT.format(name="a") + 'queues:\n  "q": {}\n  q: {}\n', "queues.q", (7, 8)),
    ],
)
def test_a_key_that_appears_twice_is_refused_with_both_lines(
    path: Path, text: str, key: str, lines: tuple[int, int]
) -> None:
    path.write_text(text)
    for load in (load_sources, load_queues, load_alert_rules):
        with pytest.raises(InvalidConfiguration) as refused:
            load(path)
        assert f"`{key}` appears twice, on lines {lines[0]} and {lines[1]}" in str(refused.value)
        assert refused.value.remedy


def test_what_an_alias_repeats_or_a_merge_overrides_is_no_key_that_appears_twice(path: Path) -> None:
    path.write_text(
        "sources:\n"
        "  a: &a\n"
        "    url: file:///tmp/a\n"
        "    collection: &collection {id: a, description: x}\n"
        '    datetime: &dates [{fixed: "2020-01-01T00:00:00Z"}]\n'
        "  b:\n"
        "    <<: *a\n"
        "    url: file:///tmp/b\n"
        "    collection: {<<: *collection, id: b}\n"
        "    datetime: *dates\n"
    )
    sources = load_sources(path)
    assert [(name, source.url, source.collection.id) for name, source in sources.items()] == [
        ("a", "file:///tmp/a", "a"),
        ("b", "file:///tmp/b", "b"),
    ]
