"""What a file is: by its first bytes, and the media type of what is read.

Here: the magics of the formats that are read, and of others people put next to them, so that the refusal names them;
media types by the driver that read the header, so by content. Not here: reading any, and any type by name.
"""

from enum import Enum
from typing import BinaryIO

from geo_assets.errors import NotARaster, UnsupportedFormat
from geo_assets.models import RasterMetadata

_TIFF = (b"II\x2a\x00", b"MM\x00\x2a", b"II\x2b\x00", b"MM\x00\x2b")


_VRT = b"<VRTDataset"
_XML = b"<?xml"
HEAD_BYTES = 64


class Format(Enum):
    """A format that is read; the value is its name for people."""

    GEOTIFF = "GeoTIFF"
    JPEG2000 = "JPEG 2000"
    PNG = "PNG"
    JPEG = "JPEG"
    HDF5 = "NetCDF-4 or HDF5"
    NETCDF_CLASSIC = "NetCDF classic"


_READ = {
    **dict.fromkeys(_TIFF, Format.GEOTIFF),
    b"\x00\x00\x00\x0cjP  \r\n\x87\n": Format.JPEG2000,
    b"\xff\x4f\xff\x51": Format.JPEG2000,
    b"\x89PNG\r\n\x1a\n": Format.PNG,
    b"\xff\xd8\xff": Format.JPEG,
    b"\x89HDF\r\n\x1a\n": Format.HDF5,
    b"CDF\x01": Format.NETCDF_CLASSIC,
    b"CDF\x02": Format.NETCDF_CLASSIC,
    b"CDF\x05": Format.NETCDF_CLASSIC,
}

_OTHER_RASTERS = {
    b"\x0e\x03\x13\x01": "HDF4",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"GIF8": "GIF",
    b"GRIB": "GRIB",
    b"EHFA_HEADER_TAG": "Erdas Imagine",
    b"NITF": "NITF",
    b"NSIF": "NITF",
    b"SIMPLE  =": "FITS",
    b"UHL1": "DTED",
    b"<MRF_META": "MRF",
    b"PCIDSK": "PCIDSK",
    b"ncols": "an Arc/Info ASCII grid",
    b"BM": "BMP",
    b"%PDF": "PDF",
}


def check_is_tiff(file: BinaryIO) -> None:
    """Raise unless the file starts with the magic of a TIFF or BigTIFF; raises as `detect_format`."""
    if (found := detect_format(file)) is not Format.GEOTIFF:
        raise UnsupportedFormat(f"The file is {found.value}; only GeoTIFF is read here.")


def is_vrt(head: bytes) -> bool:
    """Whether a file that starts with the `HEAD_BYTES` ``head`` is a VRT, with an XML declaration or without."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    return text.startswith(_VRT) or (text.startswith(_XML) and _VRT in text)


def detect_format(file: BinaryIO) -> Format:
    """The format of the file by its first bytes, whatever its name says.

    Raises UnsupportedFormat where it is another raster (or archive) format, NotARaster for everything else.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    if error := getattr(file, "raise_error", None):
        error()
    for magic, found in _READ.items():
        if head.startswith(magic):
            return found
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"RIFF") and text[8:12] == b"WEBP":
        raise UnsupportedFormat("The file is WebP, which is not read.")
    if is_vrt(head):
        raise UnsupportedFormat("The file is VRT, which takes its pixels from other files: none is followed.")
    for magic, name in _OTHER_RASTERS.items():
        if head.startswith(magic) or text.startswith(magic):
            raise UnsupportedFormat(f"The file is {name}, which is not read.")
    if not head:
        raise NotARaster("The file is empty.")
    raise NotARaster(f"The file starts with {head[:8]!r}, which is neither TIFF nor another known raster.")


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
