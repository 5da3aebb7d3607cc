"""What a file is, by its first bytes.

Here: the magics of the formats people put next to GeoTIFFs, so that the refusal names them. Not here: reading any.
"""

from typing import BinaryIO

from geo_assets.errors import NotARaster, UnsupportedFormat

_TIFF = (b"II\x2a\x00", b"MM\x00\x2a", b"II\x2b\x00", b"MM\x00\x2b")

_OTHER_RASTERS = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"\x00\x00\x00\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\x89HDF\r\n\x1a\n": "HDF5 or NetCDF-4",
    b"\x0e\x03\x13\x01": "HDF4",
    b"CDF\x01": "NetCDF",
    b"CDF\x02": "NetCDF",
    b"CDF\x05": "NetCDF",
    b"<VRTDataset": "VRT",
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
    """Raise unless the file starts with the magic of a TIFF or BigTIFF.

    UnsupportedFormat names another raster (or archive) format, NotARaster is everything else.
    """
    file.seek(0)
    head = file.read(64)
    if error := getattr(file, "raise_error", None):
        error()
    if head.startswith(_TIFF):
        return
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"RIFF") and text[8:12] == b"WEBP":
        raise UnsupportedFormat("The file is WebP; GeoTIFF is read.")
    for magic, name in _OTHER_RASTERS.items():
        if head.startswith(magic) or text.startswith(magic):
            raise UnsupportedFormat(f"The file is {name}; GeoTIFF is read.")
    if not head:
        raise NotARaster("The file is empty.")
    raise NotARaster(f"The file starts with {head[:8]!r}, which is neither TIFF nor another known raster.")
