"""Whether an item says what the header of its blob says: CRS, shape, transform and footprint.

Here: comparing. Not here: opening the blob, and finding the item.
"""

from collections.abc import Mapping
from typing import Any

import shapely
from shapely.geometry import shape

from geo_assets.core.footprint import known_footprint
from geo_assets.core.scene import gives_geometry
from geo_assets.errors import PermanentError
from geo_assets.models import RasterMetadata

# Of the area of both: what rounding of coordinates makes of an outline is far below it.
_FOOTPRINT_TOLERANCE = 1e-6
_TRANSFORM_TOLERANCE = 1e-9


def header_disagreements(
    item: Mapping[str, Any], metadata: RasterMetadata, *, href: str, member: str | None = None
) -> list[str]:
    """What ``item`` says other than the header of its blob at ``href``, a sentence each; nothing where they agree.

    Fields of the blob's own asset go before those of the item. Of the members of a scene the one that gives it its
    outline is compared with that.
    """
    asset = next((asset for asset in item["assets"].values() if asset["href"] == href), None)
    if asset is None:
        return [f"no asset of the item is {href}"]
    stated = {**item["properties"], **asset}
    found = []
    if stated.get("proj:code") != metadata.crs_code:
        found.append(f"proj:code is {stated.get('proj:code')}, the header's CRS {metadata.crs_code}")
    if stated.get("proj:shape") != list(metadata.shape):
        found.append(f"proj:shape is {stated.get('proj:shape')}, the header's {list(metadata.shape)}")
    if not _same_transform(stated.get("proj:transform"), metadata.transform):
        found.append(f"proj:transform is {stated.get('proj:transform')}, the header's {metadata.transform}")
    if member is not None and not gives_geometry(item, member):
        return found
    return found + _footprint_disagreement(item, metadata)


def _same_transform(stated: Any, header: tuple[float, ...] | None) -> bool:
    if stated is None or header is None:
        return stated is None and header is None
    scale = max(abs(value) for value in header) or 1.0
    return len(stated) >= 6 and all(
        abs(one - other) <= _TRANSFORM_TOLERANCE * scale for one, other in zip(stated[:6], header, strict=True)
    )


def _footprint_disagreement(item: Mapping[str, Any], metadata: RasterMetadata) -> list[str]:
    if item["geometry"] is None:
        return []
    try:
        expected = shape(known_footprint(metadata).geometry)
    except PermanentError as error:
        return [f"the item has a geometry, the header gives none: {error.message}"]
    stated = shape(item["geometry"])
    if not stated.is_valid:
        return [f"the geometry is not valid: {shapely.is_valid_reason(stated)}"]
    difference = stated.symmetric_difference(expected).area
    whole = stated.union(expected).area
    if difference <= _FOOTPRINT_TOLERANCE * whole:
        return []
    return [f"the geometry and the header's footprint share {1 - difference / whole:.1%} of the area of both"]
