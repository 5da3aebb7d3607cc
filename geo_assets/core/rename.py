"""What the item of a renamed blob says of its former name.

Not here: telling that a blob was renamed (`geo_assets.resources.ledger_deletions`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from geo_assets.models import BlobRef

FORMER_NAME = "geo_assets:renamed_from"


def state_former_names(
    items: Sequence[tuple[BlobRef, dict[str, Any]]], former_names: Mapping[str, str]
) -> list[tuple[BlobRef, dict[str, Any]]]:
    """The items, those of blobs in ``former_names`` with the property ``geo_assets:renamed_from``."""
    return [
        (blob, item)
        if blob.name not in former_names
        else (blob, {**item, "properties": {**item["properties"], FORMER_NAME: former_names[blob.name]}})
        for blob, item in items
    ]
