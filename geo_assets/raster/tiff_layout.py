"""Rules on the layout of a TIFF: is all its data there, is it a Cloud Optimized GeoTIFF, where does its header end.

Here: pure checks of a `TiffStructure`. Not here: reading one (`tiff`).
"""

from dataclasses import replace
from itertools import pairwise

from geo_assets.errors import Corrupt
from geo_assets.models import RasterMetadata
from geo_assets.raster.tiff import MAX_BLOCKS_CHECKED, MAX_DIRECTORIES, Directory, TiffStructure

_UNCOMPRESSED = 1
_OLD_JPEG = 6
_LARGEST_UNTILED = 512
_LATEST_MAIN_OFFSET = 300


def check_data_is_there(structure: TiffStructure) -> None:
    """Raise Corrupt where a block of data is missing, or lies past the end of the file.

    Only offsets and sizes are compared: no pixel is read, so damage inside the data stays unseen. Of a block without
    compression its size follows from the image's, whatever the header says of it. A block at 0 of 0 bytes was never
    written, and reads as nodata.
    """
    for directory in structure.directories:
        if directory.compression == _OLD_JPEG:
            continue
        is_plain = directory.compression == _UNCOMPRESSED and directory.block_bytes > 0
        if is_plain and directory.block_count < directory.blocks_needed:
            raise Corrupt(
                f"{directory.width:,} x {directory.height:,} pixels need {directory.blocks_needed:,} blocks of data, "
                f"but the header lists {directory.block_count:,}: it is damaged."
            )
        for number, (offset, count) in enumerate(directory.blocks):
            needed = _plain_bytes(directory, number) if is_plain and (offset or count) else count
            if offset + needed > structure.size_bytes:
                raise Corrupt(
                    f"A block of data lies at bytes {offset} to {offset + needed}, "
                    f"but the file ends at {structure.size_bytes}: it is cut off or damaged."
                )


def is_cog(structure: TiffStructure) -> bool:
    """Whether the file is laid out as a Cloud Optimized GeoTIFF.

    The rules are those of rio-cogeo's ``cog_validate`` with ``strict=False``, which itself needs a path to open.
    """
    main, overviews = structure.main, structure.overviews
    images = (main, *overviews)
    return (
        all(image.tiled or max(image.width, image.height) <= _LARGEST_UNTILED for image in images)
        and main.offset <= _LATEST_MAIN_OFFSET
        and b"KNOWN_INCOMPATIBLE_EDITION=YES" not in structure.leading_text
        and all(larger.width > smaller.width for larger, smaller in pairwise(images))
        and all(earlier.offset < later.offset for earlier, later in pairwise(images))
        and _data_follows_smallest_first(images)
    )


def header_size_bytes(structure: TiffStructure) -> int | None:
    """The bytes at the front of the file that hold every directory and no pixel; None if it is not laid out so.

    Of an image with very many blocks not all places were read; its header counts where the writer promises their order.
    """
    if len(structure.directories) >= MAX_DIRECTORIES:
        return None
    all_seen = all(len(each.blocks) < MAX_BLOCKS_CHECKED for each in structure.directories)
    if not (all_seen or b"BLOCK_ORDER=ROW_MAJOR" in structure.leading_text):
        return None
    end = max(each.end for each in structure.directories)
    places = [offset for each in structure.directories for offset, count in each.blocks if offset and count]
    return end if end <= min(places, default=structure.size_bytes) else None


def with_layout(metadata: RasterMetadata, structure: TiffStructure) -> RasterMetadata:
    """The same metadata with what the layout of the file alone tells."""
    return replace(
        metadata,
        is_cog=is_cog(structure),
        byte_order="little-endian" if structure.byte_order == "<" else "big-endian",
        header_size_bytes=header_size_bytes(structure),
    )


def _data_follows_smallest_first(images: tuple[Directory, ...]) -> bool:
    """Overviews lie before the full image, the smallest first, and all after the last directory."""
    firsts = [first for image in images if (first := _first_offset(image))]
    if not firsts:
        return True
    return firsts[-1] > images[-1].offset and all(larger > smaller for larger, smaller in pairwise(firsts))


def _first_offset(directory: Directory) -> int:
    return next((offset for offset, count in directory.blocks if offset and count), 0)


def _plain_bytes(directory: Directory, number: int) -> int:
    """The size of a block without compression; the last strip of each plane has the rows that are left."""
    if directory.tiled:
        return directory.block_bytes
    if len(directory.blocks) < directory.block_count and number >= len(directory.blocks) // 2:
        number += directory.block_count - len(directory.blocks)
    if number % directory.blocks_down < directory.blocks_down - 1:
        return directory.block_bytes
    return directory.row_bytes * (directory.height - (directory.blocks_down - 1) * directory.block_height)
