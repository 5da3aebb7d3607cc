"""Scenes in the ledger, without a pipeline: what happens between reading a scene and marking it catalogued."""

from collections.abc import Sequence

from geo_assets.catalogue.items import claim_ids
from geo_assets.models import BlobRef, Failure
from geo_assets.resources.database import Database
from geo_assets.sources.item_rules import GroupRule
from geo_assets.stac.scene import Scene
from tests.ledgers import METADATA, SOURCE, blob, listed, mark_scenes

SCENES = SOURCE.model_copy(
    update={"group": GroupRule(name=r"(?P<item>s\d+)_(?P<asset>\w+)\.tif", required=("red", "nir"))}
)
RED, NIR, BLUE = blob("s1_red.tif"), blob("s1_nir.tif"), blob("s1_blue.tif")


def see(database: Database, *blobs: BlobRef, describe: bool = True) -> None:
    """List these blobs and group them; describe them as well, unless told otherwise."""
    listed(database, blobs, source=SCENES)
    database.scenes.group_blobs(SCENES, run_id="run")
    if describe:
        database.blobs.record_described(SCENES.name, [(each, METADATA) for each in blobs], run_id="run")


def scenes(database: Database) -> list[Scene]:
    """The scenes to catalogue."""
    return database.scenes.to_catalogue(SCENES.name, first="", last="~", as_of=database.now())


def catalogue(database: Database) -> None:
    """Claim an item for each scene to catalogue, and mark its members."""
    found = scenes(database)
    with database.connections.connect() as connection, connection.transaction():
        claim_ids(connection, SCENES, [(scene.version, {"id": scene.id}) for scene in found])
    mark_scenes(database, SCENES, found, run_id="run")


def assets(found: Sequence[Scene]) -> list[list[str]]:
    return [[member.asset for member in scene.members] for scene in found]


def states(database: Database) -> dict[str, str]:
    rows = database.connections.rows("select_failures", source=SCENES.name, most=10)
    assert rows == []
    with database.connections.connect() as connection:
        found = connection.execute("SELECT asset_key, state FROM ledger.blob_state ORDER BY 1").fetchall()
    return {row["asset_key"]: row["state"] for row in found}


def test_a_blob_waits_only_for_others_never_for_itself(database: Database) -> None:
    see(database, RED, BLUE)
    assert states(database) == {"red": "waiting", "blue": "waiting"}
    assert scenes(database) == []
    see(database, RED, BLUE, NIR, describe=False)
    assert states(database) == {"red": "waiting", "blue": "waiting", "nir": "to_describe"}
    see(database, RED, BLUE, NIR)
    assert assets(scenes(database)) == [["blue", "nir", "red"]]


def test_marked_members_are_catalogued_and_a_new_one_brings_the_whole_scene_back(database: Database) -> None:
    see(database, RED, NIR)
    mark_scenes(database, SCENES, scenes(database), run_id="run")
    assert states(database) == {"red": "catalogued", "nir": "catalogued"}
    assert scenes(database) == []
    see(database, RED, NIR, BLUE)
    (found,) = scenes(database)
    assert {member.blob for member in found.members} == {RED, NIR, BLUE}


def test_a_scene_of_which_a_member_changed_meanwhile_stays_pending(database: Database) -> None:
    see(database, RED, NIR, BLUE)
    stale = scenes(database)
    listed(database, [RED, NIR, blob("s1_blue.tif", "2")], source=SCENES)
    mark_scenes(database, SCENES, stale, run_id="run")
    assert states(database) == {"red": "to_catalogue", "nir": "to_catalogue", "blue": "to_describe"}


def test_a_scene_of_which_a_member_left_meanwhile_stays_pending(database: Database) -> None:
    see(database, RED, NIR, BLUE)
    stale = scenes(database)
    listed(database, [RED, NIR], source=SCENES)
    database.catalogue.withdraw_dead(SCENES)
    mark_scenes(database, SCENES, stale, run_id="run")
    assert assets(scenes(database)) == [["nir", "red"]]


def test_a_member_that_became_unreadable_meanwhile_is_not_marked(database: Database) -> None:
    see(database, RED, NIR, BLUE)
    stale = scenes(database)
    failure = Failure(BLUE.name, BLUE.etag, "corrupt", "broken", permanent=True)
    database.blobs.record_failures(SCENES, [failure], stage="describe", run_id="run")
    mark_scenes(database, SCENES, stale, run_id="run")
    assert assets(scenes(database)) == [["nir", "red"]]


def test_a_member_that_is_gone_stays_in_the_ledger_until_its_item_knows(database: Database) -> None:
    see(database, RED, NIR, BLUE)
    catalogue(database)
    listed(database, [RED, NIR], source=SCENES)
    database.deletions.judge(SCENES)
    assert database.blobs.outstanding(SCENES.name).to_withdraw == 1
    assert database.connections.row("delete_tombstones", before=database.now())["rows"] == 0
    database.catalogue.withdraw_dead(SCENES)
    assert database.blobs.outstanding(SCENES.name).to_withdraw == 0
    assert assets(scenes(database)) == [["nir", "red"]]
    assert database.connections.row("delete_tombstones", before=database.now())["rows"] == 1


def test_a_blob_that_comes_back_joins_its_scene_again(database: Database) -> None:
    see(database, RED, NIR, BLUE)
    catalogue(database)
    listed(database, [RED, NIR], source=SCENES)
    database.deletions.judge(SCENES)
    database.catalogue.withdraw_dead(SCENES)
    catalogue(database)
    see(database, RED, NIR, BLUE)
    assert assets(scenes(database)) == [["blue", "nir", "red"]]
