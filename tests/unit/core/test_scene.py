"""Scenes without a pipeline: what a name says, what a JSON document gives, and the item of many blobs."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError
from rasterio.transform import Affine

from geo_assets.errors import Corrupt, InvalidItem, MissingDatetime, NoFootprint, TooLarge
from geo_assets.models import BlobRef
from geo_assets.sources.source import CollectionRule, Source
from geo_assets.stac.scene import (
    MAX_DOCUMENT_BYTES,
    Membership,
    Scene,
    SceneMember,
    build_scene_item,
    check_document_size,
    membership,
    read_document,
)
from tests.unit.core import schemas
from tests.unit.core.rasters import metadata

NOON = datetime(2020, 1, 1, 12, tzinfo=UTC)
UTM = Affine(30.0, 0.0, 400_000.0, 0.0, -30.0, 4_500_000.0)
PAN = Affine(15.0, 0.0, 400_000.0, 0.0, -15.0, 4_500_000.0)


def source(*, datetime_rules: Sequence[Any] = ({"fixed": NOON},), **group: Any) -> Source:
    rule = {"name": r"(?P<item>s\d)_(?P<asset>\w+)\.", "required": ["red"], **group}
    return Source.model_validate(
        {
            "name": "scenes",
            "url": "az://bronze/in",
            "collection": CollectionRule(id="scenes", description="d"),
            "datetime": list(datetime_rules),
            "group": rule,
        }
    )


def blob(name: str, etag: str = "1") -> BlobRef:
    return BlobRef(f"in/{name}", etag, 100, NOON, content_type="application/octet-stream")


def raster(asset: str, transform: Affine = UTM, etag: str = "1", **facts: Any) -> SceneMember:
    return SceneMember(blob(f"s1_{asset}.tif", etag), asset, metadata("EPSG:32618", transform, (10, 20), **facts))


def document(**values: Any) -> SceneMember:
    return SceneMember(blob("s1_meta.json"), "meta", document={f"/{name}": value for name, value in values.items()})


def item(rule: Source, *members: SceneMember) -> Any:
    built = build_scene_item(
        source=rule, scene=Scene.of("s1", members), href=lambda name: f"https://account.example/{name}"
    )
    schemas.validate(built)
    return built


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("in/s1_red.tif", Membership("s1", "red", "raster")),
        ("in/s1_red.TIFF", Membership("s1", "red", "raster")),
        ("in/deep/s2_meta.json", Membership("s2", "meta", "document")),
        ("in/s1_other.json", Membership("s1", "other", "other")),
        ("in/s1_thumb.tif", Membership("s1", "thumb", "other")),
        ("in/s1_odd.dat", Membership("s1", "odd", "raster")),
        ("in/readme.txt", None),
    ],
)
def test_a_name_says_to_which_scene_a_blob_belongs_and_how_it_is_read(name: str, said: Membership | None) -> None:
    rule = source(
        assets={"thumb": {"raster": False}, "odd": {"raster": True}},
        properties={"platform": {"json": "meta", "path": "/platform"}},
    )
    assert membership(rule, name) == said


def test_the_version_of_a_scene_is_the_digest_of_its_members_etags() -> None:
    version = Scene.of("s1", [raster("red"), raster("nir")]).version
    assert version == Scene.of("s1", [raster("nir"), raster("red")]).version
    assert (version.name, version.size_bytes) == ("s1", 200)
    others = [[raster("red", etag="2"), raster("nir")], [raster("red")], [raster("red"), raster("nir"), document()]]
    assert all(Scene.of("s1", members).version.etag != version.etag for members in others)


def test_of_two_members_with_one_asset_the_first_counts() -> None:
    second = SceneMember(blob("again/s1_red.tif"), "red")
    scene = Scene.of("s1", [raster("red"), second])
    assert scene.members == (raster("red"),)
    assert scene.surplus == (second,)


def test_an_item_has_the_grid_of_its_first_required_raster_and_assets_say_where_theirs_differs() -> None:
    built = item(source(required=["red", "pan"]), raster("pan", PAN), raster("red"), raster("blue"))
    assert built["id"] == "s1"
    assert built["properties"]["proj:transform"] == list(UTM)[:6]
    assert built["properties"]["geo_assets:geometry_source"].endswith(" of red")
    assert built["assets"]["pan"]["proj:transform"] == list(PAN)[:6]
    assert not [name for asset in ("red", "blue") for name in built["assets"][asset] if name.startswith("proj:")]


def test_a_raster_without_a_grid_does_not_inherit_that_of_the_others() -> None:
    floating = SceneMember(blob("s1_qa.tif"), "qa", metadata(None, None, (10, 20)))
    built = item(source(), raster("red"), floating)
    assert "proj:transform" not in built["properties"].keys() | built["assets"]["qa"].keys()
    assert built["assets"]["red"]["proj:transform"] == list(UTM)[:6]
    assert built["assets"]["qa"]["proj:code"] is None


def test_members_that_are_no_rasters_are_assets_typed_by_their_name() -> None:
    built = item(source(), raster("red"), document(), SceneMember(blob("s1_thumb.jpeg"), "thumb"))
    assert built["assets"]["meta"]["type"] == "application/json"
    assert built["assets"]["thumb"]["type"] == "image/jpeg"
    assert built["assets"]["thumb"]["geo_assets:blob"] == "in/s1_thumb.jpeg"


def test_what_the_rule_states_of_an_asset_stands_in_the_item() -> None:
    band = {"name": "B4", "common_name": "red", "center_wavelength": 0.65, "full_width_half_max": 0.04}
    stated = {"key": "B4", "title": "Red", "roles": ["data", "reflectance"], "type": "image/tiff", "bands": [band]}
    built = item(source(assets={"red": stated}), raster("red"))
    (asset,) = built["assets"].values()
    assert list(built["assets"]) == ["B4"]
    assert (asset["title"], asset["roles"], asset["type"]) == ("Red", ["data", "reflectance"], "image/tiff")
    assert asset["bands"][0]["eo:common_name"] == "red"
    assert asset["bands"][0]["data_type"] == "uint8"
    assert any("/eo/" in uri for uri in built["stac_extensions"])


def test_a_rule_with_more_bands_than_the_file_has_is_refused() -> None:
    with pytest.raises(InvalidItem, match="lists 2 bands, the raster has 1"):
        item(source(assets={"red": {"bands": [{"name": "a"}, {"name": "b"}]}}), raster("red"))


def test_two_members_with_one_asset_key_are_refused() -> None:
    with pytest.raises(InvalidItem, match="asset key 'nir'"):
        item(source(assets={"red": {"key": "nir"}}), raster("red"), raster("nir"))


def test_properties_come_from_json_members_and_what_is_not_there_is_said() -> None:
    wanted = {
        "eo:cloud_cover": {"json": "meta", "path": "/cloud", "type": "number"},
        "platform": {"json": "meta", "path": "/craft", "values": {"LANDSAT_8": "landsat-8"}},
        "test:row": {"json": "meta", "path": "/row", "type": "integer"},
        "test:text": {"json": "meta", "path": "/row", "type": "string"},
        "test:bad": {"json": "meta", "path": "/craft", "type": "number"},
        "test:infinite": {"json": "meta", "path": "/infinite", "type": "number"},
        "test:absent": {"json": "meta", "path": "/absent"},
    }
    values = {"cloud": "12.5", "craft": "LANDSAT_8", "row": 36, "infinite": "inf"}
    properties = item(source(properties=wanted), raster("red"), document(**values))["properties"]
    assert (properties["eo:cloud_cover"], properties["platform"]) == (12.5, "landsat-8")
    assert (properties["test:row"], properties["test:text"]) == (36, "36")
    assert properties["geo_assets:missing"] == ["test:bad", "test:infinite", "test:absent"]


def test_the_datetime_may_stand_in_a_json_member() -> None:
    rules = [{"json": "meta", "path": ["/day", "/time"]}, {"fixed": NOON}]
    built = item(source(datetime_rules=rules), raster("red"), document(day="2013-04-19", time="16:01:51.8294190Z"))
    assert built["properties"]["datetime"] == "2013-04-19T16:01:51.829419Z"
    assert built["properties"]["geo_assets:datetime_source"] == "meta /day and /time"
    built = item(source(datetime_rules=rules), raster("red"), document(day="soon", time="never"))
    assert built["properties"]["datetime"] == "2020-01-01T12:00:00Z"
    assert built["properties"]["geo_assets:datetime_source"] == "fixed by the source"


def test_a_scene_without_a_date_or_a_raster_is_refused_with_what_was_found() -> None:
    with pytest.raises(MissingDatetime, match="/day not in the document"):
        item(source(datetime_rules=[{"json": "meta", "path": "/day"}]), raster("red"), document())
    with pytest.raises(NoFootprint, match="no raster"):
        item(source(), document())


def test_a_document_gives_plain_values_only() -> None:
    content = b'{"a": {"b": ["x\\u0000y", 1.5, true, null, {}]}, "big": 1e999, "~": 1}'
    pointers = ["/a/b/0", "/a/b/1", "/a/b/2", "/a/b/3", "/a/b/4", "/a/b/9", "/a/b/-", "/a/x/y", "/big", "/~0", "/a"]
    assert read_document(content, pointers) == {"/a/b/0": "xy", "/a/b/1": 1.5, "/a/b/2": True, "/~0": 1}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"a": NaN}', b"[" * 100_000])
def test_what_is_no_json_is_corrupt(content: bytes) -> None:
    with pytest.raises(Corrupt, match="no JSON"):
        read_document(content, ["/a"])


def test_a_document_has_a_bounded_size() -> None:
    check_document_size(BlobRef("a", "1", MAX_DOCUMENT_BYTES, NOON))
    with pytest.raises(TooLarge):
        check_document_size(BlobRef("a", "1", MAX_DOCUMENT_BYTES + 1, NOON))


@pytest.mark.parametrize(
    ("group", "complaint"),
    [
        ({"name": "("}, "not a regular expression"),
        ({"name": "(?P<item>a)"}, "named group.* asset"),
        ({"required": []}, "at least 1"),
        ({"required": ["red", "red"]}, "twice"),
        ({"assets": {"a": {"key": "b"}, "b": {}}}, "one key"),
        ({"properties": {"datetime": {"json": "meta", "path": "/a"}}}, "other keys"),
        ({"properties": {"proj:code": {"json": "meta", "path": "/a"}}}, "other keys"),
        ({"properties": {"platform": {"json": "meta", "path": "a"}}}, "JSON pointer"),
    ],
)
def test_a_group_rule_that_cannot_work_is_refused(group: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        source(**group)


def test_a_datetime_by_json_needs_a_group_and_a_group_no_item_id() -> None:
    plain = {"name": "s", "url": "az://c", "collection": CollectionRule(id="c", description="d")}
    with pytest.raises(ValidationError, match="needs a group"):
        Source.model_validate({**plain, "datetime": [{"json": "meta", "path": "/day"}]})
    with pytest.raises(ValidationError, match="`item_id` and `group` cannot be combined"):
        Source.model_validate({**plain, "item_id": "{stem}", "group": source().group})


def test_a_group_decides_what_items_are_and_its_documents_what_is_read() -> None:
    plain = source()
    more = source(properties={"platform": {"json": "meta", "path": "/platform"}})
    titled = source(assets={"red": {"title": "Red"}})
    assert len({plain.rule_digest, more.rule_digest, titled.rule_digest}) == 3
    assert plain.reading_digest == titled.reading_digest != more.reading_digest
    assert hash(plain) != hash(more)
