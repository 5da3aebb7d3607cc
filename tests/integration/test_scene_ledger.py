"""Scenes in the ledger, without a pipeline: what happens between reading a scene and marking it catalogued."""

from collections.abc import Sequence

from geo_assets.catalogue.pgstac import PgStac
from geo_assets.ledger.blobs import Ledger
from geo_assets.models import BlobRef, Failure
from geo_assets.sources.item_rules import GroupRule
from geo_assets.stac.scene import Scene
from tests.ledgers import METADATA, SOURCE, blob, listed

SCENES = SOURCE.model_copy(
    update={"group": GroupRule(name=r"(?P<item>s\d+)_(?P<asset>\w+)\.tif", required=("red", "nir"))}
)
RED, NIR, BLUE = blob("s1_red.tif"), blob("s1_nir.tif"), blob("s1_blue.tif")


def see(ledger: Ledger, *blobs: BlobRef, describe: bool = True) -> None:
    """List these blobs and group them; describe them as well, unless told otherwise."""
    listed(ledger, blobs, source=SCENES)
    ledger.group_blobs(SCENES, run_id="run")
    if describe:
        ledger.record_described(SCENES.name, [(each, METADATA) for each in blobs], run_id="run")


def scenes(ledger: Ledger) -> list[Scene]:
    """The scenes to catalogue."""
    return ledger.scenes_to_catalogue(SCENES.name, first="", last="~", as_of=ledger.now())


def catalogue(ledger: Ledger) -> None:
    """Claim an item for each scene to catalogue, and mark its members."""
    found = scenes(ledger)
    PgStac(database_url=ledger.database_url).claim(SCENES, [(scene.version, {"id": scene.id}) for scene in found])
    ledger.record_scenes_catalogued(SCENES, found, run_id="run")


def assets(found: Sequence[Scene]) -> list[list[str]]:
    return [[member.asset for member in scene.members] for scene in found]


def states(ledger: Ledger) -> dict[str, str]:
    rows = ledger.rows("select_failures", source=SCENES.name, most=10)
    assert rows == []
    with ledger.connect() as connection:
        found = connection.execute("SELECT asset_key, state FROM ledger.blob_state ORDER BY 1").fetchall()
    return {row["asset_key"]: row["state"] for row in found}


def test_a_blob_waits_only_for_others_never_for_itself(ledger: Ledger) -> None:
    see(ledger, RED, BLUE)
    assert states(ledger) == {"red": "waiting", "blue": "waiting"}
    assert scenes(ledger) == []
    see(ledger, RED, BLUE, NIR, describe=False)
    assert states(ledger) == {"red": "waiting", "blue": "waiting", "nir": "to_describe"}
    see(ledger, RED, BLUE, NIR)
    assert assets(scenes(ledger)) == [["blue", "nir", "red"]]


def test_marked_members_are_catalogued_and_a_new_one_brings_the_whole_scene_back(ledger: Ledger) -> None:
    see(ledger, RED, NIR)
    ledger.record_scenes_catalogued(SCENES, scenes(ledger), run_id="run")
    assert states(ledger) == {"red": "catalogued", "nir": "catalogued"}
    assert scenes(ledger) == []
    see(ledger, RED, NIR, BLUE)
    (found,) = scenes(ledger)
    assert {member.blob for member in found.members} == {RED, NIR, BLUE}


def test_a_scene_of_which_a_member_changed_meanwhile_stays_pending(ledger: Ledger) -> None:
    see(ledger, RED, NIR, BLUE)
    stale = scenes(ledger)
    listed(ledger, [RED, NIR, blob("s1_blue.tif", "2")], source=SCENES)
    ledger.record_scenes_catalogued(SCENES, stale, run_id="run")
    assert states(ledger) == {"red": "to_catalogue", "nir": "to_catalogue", "blue": "to_describe"}


def test_a_scene_of_which_a_member_left_meanwhile_stays_pending(ledger: Ledger) -> None:
    see(ledger, RED, NIR, BLUE)
    stale = scenes(ledger)
    listed(ledger, [RED, NIR], source=SCENES)
    PgStac(database_url=ledger.database_url).withdraw_dead(SCENES)
    ledger.record_scenes_catalogued(SCENES, stale, run_id="run")
    assert assets(scenes(ledger)) == [["nir", "red"]]


def test_a_member_that_became_unreadable_meanwhile_is_not_marked(ledger: Ledger) -> None:
    see(ledger, RED, NIR, BLUE)
    stale = scenes(ledger)
    failure = Failure(BLUE.name, BLUE.etag, "corrupt", "broken", permanent=True)
    ledger.record_failures(SCENES, [failure], stage="describe", run_id="run")
    ledger.record_scenes_catalogued(SCENES, stale, run_id="run")
    assert assets(scenes(ledger)) == [["nir", "red"]]


def test_a_member_that_is_gone_stays_in_the_ledger_until_its_item_knows(ledger: Ledger) -> None:
    see(ledger, RED, NIR, BLUE)
    catalogue(ledger)
    listed(ledger, [RED, NIR], source=SCENES)
    ledger.judge_deletions(SCENES)
    assert ledger.outstanding(SCENES.name).to_withdraw == 1
    assert ledger.row("delete_tombstones", before=ledger.now())["rows"] == 0
    PgStac(database_url=ledger.database_url).withdraw_dead(SCENES)
    assert ledger.outstanding(SCENES.name).to_withdraw == 0
    assert assets(scenes(ledger)) == [["nir", "red"]]
    assert ledger.row("delete_tombstones", before=ledger.now())["rows"] == 1


def test_a_blob_that_comes_back_joins_its_scene_again(ledger: Ledger) -> None:
    see(ledger, RED, NIR, BLUE)
    catalogue(ledger)
    listed(ledger, [RED, NIR], source=SCENES)
    ledger.judge_deletions(SCENES)
    PgStac(database_url=ledger.database_url).withdraw_dead(SCENES)
    catalogue(ledger)
    see(ledger, RED, NIR, BLUE)
    assert assets(scenes(ledger)) == [["blue", "nir", "red"]]
