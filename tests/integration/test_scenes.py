"""Scenes as their members come, change and go: one item of what is there, or what it waits for."""

import json
import os
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from geo_assets.cli.main import main
from geo_assets.stac.remarks import ItemPatch
from geo_assets.stac.schemas import item_validator
from tests.pipeline import Pipeline
from tests.rasters import raster_bytes

GROUP: dict[str, Any] = {
    "name": r"(?P<item>s\d+)_(?P<asset>\w+)\.\w+$",
    "required": ["red", "nir"],
    "properties": {"eo:cloud_cover": {"json": "meta", "path": "/cloud", "type": "number"}},
}
DATE = [{"json": "meta", "path": "/date"}, {"fixed": "2020-01-01T00:00:00Z"}]


class Scenes:
    """A folder of scenes, and the pipeline on it; a file written again is always another version."""

    def __init__(self, pipeline: Pipeline, folder: Path) -> None:
        self.pipeline, self.folder, self._clock = pipeline, folder, 1_700_000_000
        folder.mkdir()
        self.declare()

    def declare(self, **keys: Any) -> None:
        rule = {"include": ["**/*"], "group": GROUP, "datetime": DATE, **keys}
        self.pipeline.declare(self.folder.as_uri(), **{key: value for key, value in rule.items() if value is not None})

    def write(self, name: str, content: bytes | None = None) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raster_bytes() if content is None else content)
        self._clock += 1
        os.utime(path, (self._clock, self._clock))

    def write_scene(self, name: str, *assets: str) -> None:
        for asset in assets:
            self.write(f"{name}_{asset}.tif")

    def remove(self, name: str) -> None:
        (self.folder / name).unlink()

    def run(self) -> None:
        """Run, and check what is always true afterwards."""
        assert self.pipeline.run().success
        status = self.pipeline.status()
        assert status.pending == 0, status
        assert status.blobs == status.catalogued + status.waiting + status.quarantined, status
        assets = [asset for item in self.items().values() for asset in item["assets"].values()]
        assert len(assets) == status.catalogued
        current = dict(self.pipeline.query("SELECT name, etag FROM ledger.blob WHERE deleted_at IS NULL"))
        assert {asset["geo_assets:blob"]: asset["geo_assets:etag"] for asset in assets}.items() <= current.items()
        assert self.pipeline.database.blobs.outstanding("rasters").to_withdraw == 0
        report = self.pipeline.database.census.take("rasters")
        assert not any(report.counts.values()), report.findings
        claims = self.pipeline.query("SELECT item_id FROM ledger.item ORDER BY 1")
        assert claims == self.pipeline.query("SELECT id FROM pgstac.items ORDER BY 1")

    def items(self) -> dict[str, dict[str, Any]]:
        return {item["id"]: item for item in self.pipeline.items().values()}

    def assets(self) -> dict[str, set[str]]:
        """The assets of each item."""
        return {name: set(item["assets"]) for name, item in self.items().items()}

    def waiting(self) -> dict[str, tuple[str, ...]]:
        return {scene.scene: scene.waiting_for for scene in self.pipeline.database.scenes.waiting("rasters")}

    def reasons(self) -> dict[str, str]:
        return {name: failure.code for name, failure in self.pipeline.failures().items()}


@pytest.fixture
def scenes(pipeline: Pipeline, tmp_path: Path) -> Scenes:
    """An empty folder of scenes that need the assets red and nir."""
    return Scenes(pipeline, tmp_path / "scenes")


def test_a_scene_waits_for_its_required_assets_and_grows_as_more_come(scenes: Scenes) -> None:
    scenes.write_scene("s1", "red", "blue")
    scenes.write_scene("s2", "red", "nir")
    scenes.run()
    assert scenes.assets() == {"s2": {"red", "nir"}}
    assert scenes.waiting() == {"s1": ("nir",)}
    assert scenes.reasons() == {}
    assert scenes.pipeline.status().waiting == 2
    scenes.write_scene("s1", "nir")
    scenes.run()
    assert scenes.assets() == {"s1": {"red", "nir", "blue"}, "s2": {"red", "nir"}}
    first = scenes.items()
    scenes.write_scene("s1", "green")
    scenes.run()
    assert scenes.assets()["s1"] == {"red", "nir", "blue", "green"}
    changed = {name for name, item in scenes.items().items() if item != first[name]}
    assert changed == {"s1"}
    assert scenes.items()["s1"]["properties"]["geo_assets:etag"] != first["s1"]["properties"]["geo_assets:etag"]


def test_a_picture_beside_a_raster_is_its_thumbnail(scenes: Scenes) -> None:
    name = r"(?P<item>[^/]+?)(?P<asset>\.tif|_thumb\.jpg)$"
    assets = {".tif": {"key": "data"}, "_thumb.jpg": {"key": "thumbnail", "roles": ["thumbnail"]}}
    scenes.declare(
        group={"name": name, "required": [".tif"], "assets": assets}, datetime=[{"fixed": "2020-01-01T00:00:00Z"}]
    )
    scenes.write("one.tif")
    scenes.write("two.tif")
    scenes.write("one_thumb.jpg", b"a picture")
    scenes.run()
    assert scenes.assets() == {"one": {"data", "thumbnail"}, "two": {"data"}}
    thumbnail = scenes.items()["one"]["assets"]["thumbnail"]
    assert (thumbnail["type"], thumbnail["roles"], thumbnail["file:size"]) == ("image/jpeg", ["thumbnail"], 9)


def test_a_second_run_changes_nothing(scenes: Scenes) -> None:
    scenes.write_scene("s1", "red", "nir")
    scenes.write_scene("s2", "red")
    scenes.run()
    before = scenes.pipeline.query("SELECT id, xmin::text FROM pgstac.items")
    assert scenes.pipeline.database.blobs.outstanding("rasters").pending == 0
    scenes.run()
    assert scenes.pipeline.query("SELECT id, xmin::text FROM pgstac.items") == before


def test_an_overwritten_member_makes_its_item_anew(scenes: Scenes) -> None:
    scenes.write_scene("s1", "red", "nir")
    scenes.write("s1_meta.json", b'{"cloud": "12.5", "date": "2021-05-06T07:08:09Z"}')
    scenes.write("s1_thumb.png", b"old")
    scenes.run()
    item = scenes.items()["s1"]
    properties = item["properties"]
    assert (properties["eo:cloud_cover"], properties["datetime"]) == (12.5, "2021-05-06T07:08:09Z")
    assert properties["geo_assets:datetime_source"] == "meta /date"
    scenes.write("s1_meta.json", b'{"cloud": 99, "date": null}')
    scenes.write("s1_thumb.png", b"newer")
    scenes.run()
    before, item = item, scenes.items()["s1"]
    assert item["assets"]["thumb"]["file:size"] == 5
    assert item["assets"]["thumb"]["version"] == "2"
    assert item["assets"]["thumb"]["geo_assets:previous_etag"] == before["assets"]["thumb"]["geo_assets:etag"]
    assert "version" not in item["properties"].keys() | item["assets"]["red"].keys()
    assert (item["properties"]["eo:cloud_cover"], item["properties"]["datetime"]) == (99.0, "2020-01-01T00:00:00Z")


def test_a_scene_is_patched_by_any_of_its_blobs(scenes: Scenes) -> None:
    scenes.write_scene("s1", "red", "nir")
    scenes.run()
    patches = scenes.pipeline.database.patches
    patch = ItemPatch(line=1, blob="s1_nir.tif", item=None, properties={"platform": "landsat-8"})
    named, refused = patches.check("rasters", [patch], validator=item_validator(None))
    assert (named, refused) == ([("s1", {"platform": "landsat-8"})], [])
    assert patches.store("rasters", named) == 1
    assert scenes.pipeline.status().pending == 2
    scenes.write_scene("s1", "blue")
    scenes.run()
    assert scenes.items()["s1"]["properties"]["platform"] == "landsat-8"
    assert scenes.assets() == {"s1": {"red", "nir", "blue"}}
    assert patches.remove("rasters", ["s1"]) == 1
    scenes.run()
    assert "platform" not in scenes.items()["s1"]["properties"]


def test_an_item_shrinks_as_members_go_and_ends_without_a_required_one(scenes: Scenes) -> None:
    scenes.write_scene("s1", "red", "nir", "blue")
    scenes.run()
    scenes.remove("s1_blue.tif")
    scenes.run()
    assert scenes.assets() == {"s1": {"red", "nir"}}
    scenes.remove("s1_nir.tif")
    scenes.run()
    assert scenes.assets() == {}
    assert scenes.waiting() == {"s1": ("nir",)}
    scenes.write_scene("s1", "nir", "blue")
    scenes.run()
    assert scenes.assets() == {"s1": {"red", "nir", "blue"}}
    for asset in ("red", "nir", "blue"):
        scenes.remove(f"s1_{asset}.tif")
    scenes.run()
    assert (scenes.assets(), scenes.waiting()) == ({}, {})


def test_the_sensor_sees_that_an_item_lists_a_member_that_is_gone(scenes: Scenes) -> None:
    scenes.write_scene("s1", "red", "nir", "blue")
    scenes.run()
    scenes.remove("s1_blue.tif")
    assert scenes.pipeline.run("list_container").success
    assert scenes.pipeline.database.blobs.outstanding("rasters").to_withdraw == 1
    scenes.run()
    assert scenes.assets() == {"s1": {"red", "nir"}}


def test_a_member_that_cannot_be_read_costs_an_optional_asset_only(scenes: Scenes) -> None:
    scenes.write_scene("s1", "red", "nir")
    scenes.write("s1_blue.tif", raster_bytes(size=256)[:20_000])
    scenes.write("s1_meta.json", b"{not json")
    scenes.run()
    assert scenes.assets() == {"s1": {"red", "nir"}}
    assert scenes.reasons() == {"s1_blue.tif": "corrupt", "s1_meta.json": "corrupt"}
    assert scenes.items()["s1"]["properties"]["geo_assets:missing"] == ["eo:cloud_cover"]
    scenes.write("s1_blue.tif")
    scenes.write("s1_meta.json", b'{"cloud": 1}')
    scenes.run()
    assert scenes.assets() == {"s1": {"red", "nir", "blue", "meta"}}
    assert scenes.reasons() == {}


def test_a_scene_waits_while_a_required_member_cannot_be_read(scenes: Scenes) -> None:
    scenes.write_scene("s1", "red", "nir", "blue")
    scenes.run()
    scenes.write("s1_nir.tif", b"garbage" * 50)
    scenes.run()
    assert scenes.assets() == {}
    assert scenes.waiting() == {"s1": ("nir (not_a_raster)",)}
    assert scenes.reasons() == {"s1_nir.tif": "not_a_raster"}
    scenes.write("s1_nir.tif")
    scenes.run()
    assert scenes.assets() == {"s1": {"red", "nir", "blue"}}


def test_an_optional_member_overwritten_by_garbage_leaves_the_item(scenes: Scenes) -> None:
    scenes.write_scene("s1", "red", "nir", "blue")
    scenes.run()
    scenes.write("s1_blue.tif", b"garbage" * 50)
    scenes.run()
    assert scenes.assets() == {"s1": {"red", "nir"}}


def test_what_stops_a_scene_is_the_reason_of_all_its_members_until_one_changes(scenes: Scenes) -> None:
    scenes.declare(datetime=DATE[:1])
    scenes.write_scene("s1", "red", "nir")
    scenes.run()
    assert scenes.reasons() == {"s1_red.tif": "missing_datetime", "s1_nir.tif": "missing_datetime"}
    scenes.write("s1_meta.json", b'{"date": "2021-05-06"}')
    scenes.run()
    assert scenes.assets() == {"s1": {"red", "nir", "meta"}}
    scenes.write("s1_meta.json", b'{"date": "soon"}')
    scenes.run()
    assert scenes.assets() == {}
    assert set(scenes.reasons().values()) == {"missing_datetime"}
    scenes.declare()
    scenes.run()
    assert scenes.assets() == {"s1": {"red", "nir", "meta"}}


def test_a_blob_the_rule_does_not_match_has_its_reason(scenes: Scenes) -> None:
    scenes.write_scene("s1", "red", "nir")
    scenes.write("readme.txt", b"hello")
    scenes.run()
    assert scenes.reasons() == {"readme.txt": "not_in_group"}
    scenes.write("readme.txt", b"hello again")
    scenes.run()
    assert scenes.reasons() == {"readme.txt": "not_in_group"}
    scenes.declare(exclude=["*.txt"])
    scenes.run()
    assert scenes.reasons() == {}


def test_of_two_blobs_that_are_one_asset_the_second_has_a_reason_until_the_first_is_gone(scenes: Scenes) -> None:
    scenes.write_scene("s1", "red", "nir")
    scenes.run()
    scenes.write("a/s1_red.tif")
    scenes.run()
    assert scenes.reasons() == {"a/s1_red.tif": "duplicate_item"}
    assert scenes.assets() == {"s1": {"red", "nir"}}
    scenes.remove("s1_red.tif")
    scenes.run()
    assert scenes.reasons() == {}
    assert scenes.items()["s1"]["assets"]["red"]["geo_assets:blob"] == "a/s1_red.tif"


def test_a_new_rule_regroups_all_blobs(scenes: Scenes) -> None:
    scenes.write_scene("s1", "red", "nir")
    scenes.write_scene("s2", "red", "nir")
    scenes.run()
    scenes.declare(group={**GROUP, "name": r"(?P<item>s)(?P<asset>\d+_\w+)\.\w+$", "required": ["1_red"]})
    scenes.run()
    assert scenes.assets() == {"s": {"1_red", "1_nir", "2_red", "2_nir"}}


def test_a_source_may_begin_and_cease_to_make_scenes(scenes: Scenes) -> None:
    scenes.declare(group=None, datetime=DATE[1:])
    scenes.write_scene("s1", "red", "nir")
    scenes.write("s1_thumb.png", b"picture")
    assert scenes.pipeline.run().success
    assert set(scenes.items()) == {"s1_red", "s1_nir"}
    scenes.declare()
    scenes.run()
    assert scenes.assets() == {"s1": {"red", "nir", "thumb"}}
    scenes.declare(group=None, datetime=DATE[1:])
    assert scenes.pipeline.run().success
    assert set(scenes.items()) == {"s1_red", "s1_nir"}
    assert list(scenes.reasons()) == ["s1_thumb.png"]
    scenes.pipeline.check_promise()


def test_a_scene_whose_item_id_another_source_owns_has_the_reason(scenes: Scenes, tmp_path: Path) -> None:
    scenes.write_scene("s1", "red", "nir")
    scenes.run()
    shared = {"id": "rasters", "description": "shared"}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "s1.tif").write_bytes(raster_bytes())
    scenes.pipeline.declare((tmp_path / "other").as_uri(), name="other", collection=shared)
    assert scenes.pipeline.run(source="other").success
    assert {failure.code for failure in scenes.pipeline.failures("other").values()} == {"duplicate_item"}
    assert scenes.assets() == {"s1": {"red", "nir"}}


def test_batches_never_split_a_scene(scenes: Scenes) -> None:
    for number in range(30):
        scenes.write_scene(f"s{number}", "red", "nir")
    scenes.run()
    assert len(scenes.items()) == 30
    database, moment = scenes.pipeline.database, scenes.pipeline.database.now()
    scenes.declare(group={**GROUP, "required": ["red"]})
    database.sources.register(scenes.pipeline.resources()["sources_file"].get("rasters"))
    batches = database.blobs.plan_batches("rasters", "catalogue", as_of=moment, batch_size=7, by_scene=True)
    assert [batch.blobs for batch in batches] == [14, 14, 14, 14, 4]


def test_status_shows_what_a_scene_waits_for(scenes: Scenes, monkeypatch: pytest.MonkeyPatch) -> None:
    scenes.write_scene("s1", "blue")
    scenes.run()
    monkeypatch.setenv("GEO_ASSETS_DATABASE_URL", scenes.pipeline.database_url)
    monkeypatch.setenv("GEO_ASSETS_SOURCES", str(scenes.pipeline.sources_path))
    shown = CliRunner().invoke(main, ["status", "rasters"])
    assert "red, nir" in shown.output
    answer = json.loads(CliRunner().invoke(main, ["status", "rasters", "--json"]).output)
    assert answer["waiting"] == 1
    assert answer["waiting_scenes"] == [{"scene": "s1", "blobs": 1, "waiting_for": ["red", "nir"]}]


def test_a_materialization_shows_what_scenes_wait_for(scenes: Scenes) -> None:
    scenes.write_scene("s1", "red")
    result = scenes.pipeline.run()
    shown = {
        event.asset_key.to_user_string(): event.materialization.metadata
        for event in result.get_asset_materialization_events()
        if event.asset_key
    }["stac_items"]
    assert shown["waiting_in_source"].value == 1
    assert shown["waiting_scenes"].value.records[0].data["waiting for"] == "nir"  # type: ignore[union-attr]


CONSENT = {"ops": {"stac_items": {"ops": {"plan_stac_items": {"config": {"consent_to_deletions": True}}}}}}


def test_a_member_that_is_gone_stays_an_asset_for_its_grace_period(scenes: Scenes) -> None:
    scenes.declare(deletions={"grace": "7 days"})
    scenes.write_scene("s1", "red", "nir", "blue")
    scenes.run()
    scenes.remove("s1_blue.tif")
    scenes.remove("s1_nir.tif")
    assert scenes.pipeline.run().success
    assert scenes.assets() == {"s1": {"red", "nir", "blue"}}
    report = scenes.pipeline.database.census.take("rasters")
    assert (report.green, report.counts["in_grace"]) == (True, 1)
    assert scenes.pipeline.database.blobs.outstanding("rasters").to_withdraw == 0
    scenes.write_scene("s1", "nir")
    scenes.declare()
    scenes.run()
    assert scenes.assets() == {"s1": {"red", "nir"}}


def test_many_scenes_that_would_end_at_once_wait_for_consent(scenes: Scenes) -> None:
    scenes.declare(deletions={"min_count": 1})
    for number in range(4):
        scenes.write_scene(f"s{number}", "red", "nir", "blue")
    scenes.run()
    for number in range(3):
        scenes.remove(f"s{number}_red.tif")
    assert not scenes.pipeline.run().success
    assert len(scenes.items()) == 4
    deletions = scenes.pipeline.database.deletions.of("rasters")
    assert (deletions.items, deletions.held, deletions.due) == (4, 3, 0)
    assert scenes.pipeline.database.census.take("rasters").green
    assert scenes.pipeline.run(run_config=CONSENT).success
    assert set(scenes.items()) == {"s3"}
    assert set(scenes.waiting()) == {"s0", "s1", "s2"}
    scenes.run()


def test_a_repair_brings_back_the_item_of_a_scene_and_keeps_those_there_are(scenes: Scenes) -> None:
    scenes.write_scene("s1", "red", "nir")
    scenes.write_scene("s2", "red", "nir")
    scenes.run()
    with psycopg.connect(scenes.pipeline.database_url, autocommit=True) as connection:
        connection.execute("DELETE FROM pgstac.items WHERE id = 's1'")
    census, source = scenes.pipeline.database.census, scenes.pipeline.resources()["sources_file"].get("rasters")
    report = census.take("rasters")
    assert report.names("missing") == ["s1"]
    assert census.mend(source, report)["withdrawn"] == 0
    scenes.run()
    assert scenes.assets() == {"s1": {"red", "nir"}, "s2": {"red", "nir"}}
