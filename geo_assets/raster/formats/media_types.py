"""The media types of what is read.

Here: one by the driver that read the header, so by content. Not here: any by name.
"""

from geo_assets.models import RasterMetadata

GEOTIFF = "image/tiff; application=geotiff"
COG = f"{GEOTIFF}; profile=cloud-optimized"

_OF_DRIVER = {
    "JP2OpenJPEG": "image/jp2",
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "netCDF": "application/x-netcdf",
    "VRT": "application/xml",
    "Zarr 2": "application/vnd.zarr; version=2",
    "Zarr 3": "application/vnd.zarr; version=3",
}


def media_type(metadata: RasterMetadata) -> str:
    """The media type of the file the metadata are of."""
    return COG if metadata.is_cog else _OF_DRIVER.get(metadata.driver, GEOTIFF)
