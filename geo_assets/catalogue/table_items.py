"""The items of a file's tables, in the transaction that is open: remarks, build, check, claim, load, read back, mark.

Here: that order, for the transaction that makes the tables, and for one of its own where only a rule or a patch
changed. So an item and its table are of one version whenever you look. Not here: each step (`catalogue.items` and
`geo_assets.stac`).
"""

from pathlib import Path

from geo_assets.catalogue.items import Executor, claim_ids, hold_collection, id_taken, load_errors, replace_items
from geo_assets.errors import DuplicateItem, InvalidItem, MissingDatetime
from geo_assets.ledger.statements import read_sql
from geo_assets.models import BlobRef
from geo_assets.sources.source import Source
from geo_assets.stac.remarks import NOTHING, Remarks, check_item, with_remarks
from geo_assets.stac.schemas import item_validator
from geo_assets.stac.table_item import DescribedTable, build_table_items

REASONS_OF_ITEMS = (MissingDatetime, InvalidItem, DuplicateItem)
"""Why a file whose tables are right can have no items: another rule of items may change that."""


def catalogue_tables(
    executor: Executor, source: Source, blob: BlobRef, *, href: str, schemas_folder: Path | None, run_id: str | None
) -> None:
    """Load the item of each table of ``blob``, in place of the items it had, and mark its version catalogued.

    ``href`` is the file's. Raises MissingDatetime, InvalidItem or DuplicateItem, the reason why the file can have none,
    and LoadIncomplete; the caller then rolls back.
    """
    hold_collection(executor, source.collection.id)
    bound = {"source": source.name, "name": blob.name, "names": [blob.name], "etag": blob.etag}
    rows = executor.execute(read_sql("select_described_tables"), bound).fetchall()
    found = executor.execute(read_sql("select_remarks"), bound).fetchall()
    remarks = Remarks(**{name: value for name, value in found[0].items() if name != "name"}) if found else NOTHING
    validator = item_validator(schemas_folder)
    loaded = []
    for item in build_table_items(source=source, blob=blob, tables=[DescribedTable(**row) for row in rows], href=href):
        said = with_remarks(item, remarks)
        check_item(said, validator)
        loaded.append((blob, said))
    owners = claim_ids(executor, source, loaded)
    for _, item in loaded:
        if item["id"] in owners:
            raise id_taken(item, blob, owners[item["id"]])
    with load_errors(f"the items of {blob.name}"):
        replace_items(executor, source.collection.id, loaded)
    executor.execute(
        read_sql("mark_catalogued"),
        {
            "source": source.name,
            "rule_digest": source.rule_digest,
            "run_id": run_id,
            "names": [blob.name],
            "etags": [blob.etag],
            "patch_revisions": [remarks.patch_revision],
        },
    )
