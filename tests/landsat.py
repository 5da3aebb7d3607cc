"""The Landsat sample as a source of scenes: the rule its owner would write, and copies of its files.

Here: what the tests of scenes share. Not here: the files themselves (the folder GEO_ASSETS_SAMPLES names).
"""

import shutil
from pathlib import Path
from typing import Any

SCENE = "LC08_L2SP_017036_20130419_20200913_02_T2"
_MTL = "/LANDSAT_METADATA_FILE"
_IMAGE = f"{_MTL}/IMAGE_ATTRIBUTES"
BANDS = (
    ("SR_B1", "coastal", 0.44, "Coastal/Aerosol Band (B1)"),
    ("SR_B2", "blue", 0.48, "Blue Band (B2)"),
    ("SR_B3", "green", 0.56, "Green Band (B3)"),
    ("SR_B4", "red", 0.65, "Red Band (B4)"),
    ("SR_B5", "nir08", 0.86, "Near Infrared Band 0.8 (B5)"),
    ("SR_B6", "swir16", 1.6, "Short-wave Infrared Band 1.6 (B6)"),
    ("SR_B7", "swir22", 2.2, "Short-wave Infrared Band 2.2 (B7)"),
)


def _mtl(path: str, kind: str | None = None) -> dict[str, str]:
    return {"json": "MTL.json", "path": path, **({"type": kind} if kind else {})}


LANDSAT_RULE: dict[str, Any] = {
    "include": ["**/*"],
    "exclude": ["**/*_stac.json"],
    "collection": {"id": "landsat-c2l2-sr", "description": "Landsat Collection 2 Level-2 surface reflectance"},
    "datetime": [{"json": "MTL.json", "path": [f"{_IMAGE}/DATE_ACQUIRED", f"{_IMAGE}/SCENE_CENTER_TIME"]}],
    "group": {
        "name": r"(?P<item>L[COTEM]\d\d_L2S[PR]_\d{6}_\d{8}_\d{8}_\d\d_[A-Z0-9]{2})_(?P<asset>[^/]+)$",
        "required": ["SR_B4.TIF", "SR_B5.TIF", "MTL.json"],
        "assets": {
            **{
                f"{name}.TIF": {
                    "title": title,
                    "description": f"Collection 2 Level-2 {title} Surface Reflectance",
                    "roles": ["data", "reflectance"],
                    "bands": [{"name": name, "common_name": common, "center_wavelength": wavelength}],
                }
                for name, common, wavelength, title in BANDS
            },
            "QA_PIXEL.TIF": {
                "title": "Pixel Quality Assessment Band",
                "description": "Collection 2 Level-2 Pixel Quality Assessment Band Surface Reflectance",
                "roles": ["data", "cloud"],
            },
            "MTL.json": {
                "title": "Product Metadata File (json)",
                "description": "Collection 2 Level-2 Product Metadata File (json) Surface Reflectance",
                "roles": ["metadata"],
            },
            "thumb_small.jpeg": {"key": "thumbnail", "title": "Thumbnail image", "roles": ["thumbnail"]},
        },
        "properties": {
            "eo:cloud_cover": _mtl(f"{_IMAGE}/CLOUD_COVER", "number"),
            "view:sun_azimuth": _mtl(f"{_IMAGE}/SUN_AZIMUTH", "number"),
            "view:sun_elevation": _mtl(f"{_IMAGE}/SUN_ELEVATION", "number"),
            "platform": {**_mtl(f"{_IMAGE}/SPACECRAFT_ID"), "values": {"LANDSAT_8": "landsat-8"}},
            "landsat:cloud_cover_land": _mtl(f"{_IMAGE}/CLOUD_COVER_LAND", "number"),
            "landsat:wrs_type": _mtl(f"{_IMAGE}/WRS_TYPE"),
            "landsat:wrs_path": _mtl(f"{_IMAGE}/WRS_PATH"),
            "landsat:wrs_row": _mtl(f"{_IMAGE}/WRS_ROW"),
            "landsat:scene_id": _mtl(f"{_MTL}/LEVEL1_PROCESSING_RECORD/LANDSAT_SCENE_ID"),
            "landsat:collection_category": _mtl(f"{_MTL}/PRODUCT_CONTENTS/COLLECTION_CATEGORY"),
            "landsat:collection_number": _mtl(f"{_MTL}/PRODUCT_CONTENTS/COLLECTION_NUMBER"),
        },
    },
}


def copy_landsat(samples: Path, folder: Path) -> Path:
    """The sample's members, without the published item, in ``folder``."""
    folder.mkdir()
    for file in sorted((samples / "landsat").iterdir()):
        if not file.name.endswith("_stac.json"):
            shutil.copyfile(file, folder / file.name)
    return folder
