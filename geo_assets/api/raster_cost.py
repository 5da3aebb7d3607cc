"""What reading a picture costs, told before a pixel of it is read.

Here: the pixels that a request makes, the bytes that are decoded for them and those that lie in memory at once, all as
rio-tiler and GDAL go about it. Not here: how much of that is allowed (`drawing`), and the reading itself.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds
from rasterio.windows import from_bounds
from rio_tiler.reader import output_size
from rio_tiler.utils import get_vrt_transform, has_alpha_band, has_mask_band, non_alpha_indexes

from geo_assets.api.problems import InvalidRequest
from geo_assets.raster.bands import bytes_of, of_rasterio

FARTHEST = 1e9
"""Degrees, metres or feet from the origin of a CRS: what lies farther out is nowhere on the Earth."""
Box = tuple[float, float, float, float]
# GDAL warps block by block of these sizes, and holds the piece of the raster that one needs.
_WARP_WIDTH, _WARP_HEIGHT = 512, 128
# Where a row of such blocks needs more than this of a raster, GDAL's cache of blocks does not hold it until the next.
_CACHED_BYTES = 32 * 1024 * 1024
# Resampling other than to the nearest reads in chunks of columns, and rows as wide as the raster once for each.
_WIDE_BLOCK, _WIDE_BLOCK_TIMES = 4096, 4
# So much longer do these take than what deflate takes, for the same bytes.
_SLOWNESS = {"JPEG2000": 8, "JP2OpenJPEG": 8, "JXL": 8, "LZMA": 4, "WEBP": 3}
# Of these a row is decoded after all rows above it.
_SEQUENTIAL = frozenset({"PNG", "JPEG"})


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one read: the picture's ``width`` and ``height``, its ``bands`` of ``item_bytes`` a value, and what it takes.

    ``decoded_bytes`` are of blocks as they are before compression, slow codecs weighted. ``held_bytes`` are the
    largest piece of the raster that lies in memory at once.
    """

    width: int
    height: int
    bands: int
    item_bytes: int
    decoded_bytes: int
    held_bytes: int
    has_overviews: bool

    @property
    def samples(self) -> int:
        """The values in the picture."""
        return self.width * self.height * self.bands


@dataclass(frozen=True, slots=True)
class Wanted:
    """A read as rio-tiler is asked for it; without ``bounds`` of the whole raster."""

    bounds: Box | None = None
    bounds_crs: Any = None
    dst_crs: Any = None
    width: int | None = None
    height: int | None = None
    max_size: int | None = None
    buffer: float = 0.0
    padding: int = 0
    indexes: Sequence[int] | None = None
    nearest: bool = True
    align: bool = False


def block_bytes(dataset: Any) -> int:
    """The bytes of the raster's largest block before compression: a block is decoded whole."""
    bands = dataset.count if dataset.profile.get("interleave") == "pixel" else 1
    return int(max(height * width for height, width in dataset.block_shapes) * _item_bytes(dataset) * bands)


def cost_of_point(dataset: Any) -> Cost:
    """The cost of one pixel: a block of each band."""
    blocks = 1 if dataset.profile.get("interleave") == "pixel" else dataset.count
    decoded = block_bytes(dataset) * blocks * _slowness(dataset)
    return Cost(1, 1, dataset.count, _item_bytes(dataset), decoded, block_bytes(dataset), True)


def cost_of_read(dataset: Any, wanted: Wanted) -> Cost:
    """The cost of a read. Raises InvalidRequest for a box that has no place in the CRS it is asked in."""
    crs = wanted.dst_crs or dataset.crs
    warped = crs != dataset.crs or isinstance(dataset, WarpedVRT)
    bounds = _bounds(dataset, wanted, crs)
    if warped:
        _, full_width, full_height = get_vrt_transform(
            dataset, bounds, wanted.height, wanted.width, dst_crs=crs, align_bounds_with_dataset=wanted.align
        )
    else:
        window = from_bounds(*bounds, transform=dataset.transform)
        full_width, full_height = window.width, window.height
    height, width = output_size(
        dataset_height=full_height,
        dataset_width=full_width,
        output_height=wanted.height,
        output_width=wanted.width,
        max_size=wanted.max_size,
    )
    extra = int(2 * wanted.buffer) + 2 * wanted.padding
    bounds = _widened(bounds, extra / width, extra / height) if extra else bounds
    levels = dataset.overviews(1)
    level = max((each for each in levels if each <= min(full_width / width, full_height / height)), default=1)
    width, height = width + extra, height + extra
    bands = len(wanted.indexes) if wanted.indexes else len(non_alpha_indexes(dataset))
    source = _Source(dataset, level, bands)
    if warped:
        pieces = [source.piece(each, crs) for each in _warp_blocks(bounds, width, height)]
        decoded, held = source.decoded_for_warp(pieces, blocks_in_a_row=math.ceil(width / _WARP_WIDTH))
    else:
        decoded, held = source.decoded(source.piece(bounds, crs), width, height, nearest=wanted.nearest)
    return Cost(width, height, bands, _item_bytes(dataset), decoded, held, bool(levels))


def _bounds(dataset: Any, wanted: Wanted, crs: Any) -> Box:
    bounds, given = (wanted.bounds, wanted.bounds_crs or crs) if wanted.bounds else (dataset.bounds, dataset.crs)
    require_on_earth(bounds)
    try:
        box = tuple(bounds) if given == crs else transform_bounds(given, crs, *bounds, densify_pts=21)
    except RasterioError as error:
        raise InvalidRequest(f"The box {_listed(bounds)} has no place in the CRS that is asked for.") from error
    require_on_earth(box)
    left, bottom, right, top = (float(each) for each in box)
    if left == right or bottom == top:
        raise InvalidRequest(f"The box {_listed(bounds)} has no area.")
    return left, bottom, right, top


def require_on_earth(bounds: Sequence[float]) -> None:
    """Raise InvalidRequest for coordinates far out: PROJ goes round the Earth for them, turn by turn."""
    if not all(abs(each) <= FARTHEST for each in bounds):  # nor is what is no number
        raise InvalidRequest(f"The box {_listed(bounds)} is nowhere on the Earth.")


def _listed(bounds: Sequence[float]) -> str:
    return ",".join(f"{each:g}" for each in bounds)


def _widened(bounds: Box, share_x: float, share_y: float) -> Box:
    left, bottom, right, top = bounds
    x, y = (right - left) * share_x / 2, (top - bottom) * share_y / 2
    return left - x, bottom - y, right + x, top + y


def _warp_blocks(bounds: Box, width: int, height: int) -> Iterator[Box]:
    """The boxes of the blocks that a warped picture is made in."""
    left, bottom, right, top = bounds
    x, y = (right - left) / width, (top - bottom) / height
    for row in range(0, height, _WARP_HEIGHT):
        for column in range(0, width, _WARP_WIDTH):
            end_row, end_column = min(height, row + _WARP_HEIGHT), min(width, column + _WARP_WIDTH)
            yield left + column * x, top - end_row * y, left + end_column * x, top - row * y


@dataclass(frozen=True, slots=True)
class _Piece:
    """A box of a level's pixels; empty if it is outside the raster."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def pixels(self) -> int:
        return max(0, self.right - self.left) * max(0, self.bottom - self.top)


class _Source:
    """One level of a raster that is read."""

    def __init__(self, dataset: Any, level: int, bands: int) -> None:
        self._dataset, self._level = dataset, level
        self._width, self._height = math.ceil(dataset.width / level), math.ceil(dataset.height / level)
        block_height, block_width = dataset.block_shapes[0]
        self._block_width = min(self._width, block_width)
        self._block_height = min(self._height, block_height)
        extra = has_alpha_band(dataset) + has_mask_band(dataset)
        item = _item_bytes(dataset)
        self._held_bytes = (bands + extra) * item + 1
        interleaved = dataset.profile.get("interleave") == "pixel"
        self._decoded_bytes = ((dataset.count if interleaved else bands) + extra) * item * _slowness(dataset)

    def piece(self, bounds: Box, crs: Any) -> _Piece:
        """The pixels of the level that lie below a box; all where that cannot be told."""
        try:
            left, bottom, right, top = (
                bounds if crs == self._dataset.crs else transform_bounds(crs, self._dataset.crs, *bounds)
            )
            inverse = ~self._dataset.transform
            corners = [inverse * each for each in ((left, top), (right, top), (left, bottom), (right, bottom))]
            columns, rows = zip(*corners, strict=True)
            edges = [each / self._level for each in (min(columns), min(rows), max(columns), max(rows))]
        except (RasterioError, ZeroDivisionError):
            edges = [math.nan]
        if not all(map(math.isfinite, edges)):
            return _Piece(0, 0, self._width, self._height)
        # A kernel looks at the pixels around as well.
        return _Piece(
            max(0, math.floor(edges[0]) - 2),
            max(0, math.floor(edges[1]) - 2),
            min(self._width, math.ceil(edges[2]) + 2),
            min(self._height, math.ceil(edges[3]) + 2),
        )

    def decoded(self, piece: _Piece, width: int, height: int, *, nearest: bool) -> tuple[int, int]:
        """The bytes that are decoded and held for a picture that is not warped."""
        across, down = self._blocks(piece)
        if nearest:  # only the rows and columns that are shown
            across, down = min(across, width), min(down, height)
        times = _WIDE_BLOCK_TIMES if not nearest and self._block_width > _WIDE_BLOCK else 1
        return self._whole(across, down) * times, self._block_width * self._block_height * self._held_bytes

    def decoded_for_warp(self, pieces: list[_Piece], *, blocks_in_a_row: int) -> tuple[int, int]:
        """The same for one that is."""
        held = max(each.pixels for each in pieces) * self._held_bytes
        each_alone = [self._whole(*self._blocks(piece)) for piece in pieces]
        row = max(each_alone) * blocks_in_a_row
        if row > _CACHED_BYTES:
            return sum(each_alone), held
        seen = [piece for piece in pieces if piece.pixels]
        around = _Piece(
            min((each.left for each in seen), default=0),
            min((each.top for each in seen), default=0),
            max((each.right for each in seen), default=0),
            max((each.bottom for each in seen), default=0),
        )
        return min(sum(each_alone), self._whole(*self._blocks(around))), held

    def _blocks(self, piece: _Piece) -> tuple[int, int]:
        if not piece.pixels:
            return 0, 0
        across = math.ceil(piece.right / self._block_width) - piece.left // self._block_width
        if self._dataset.driver in _SEQUENTIAL:
            return across, math.ceil(piece.bottom / self._block_height)
        return across, math.ceil(piece.bottom / self._block_height) - piece.top // self._block_height

    def _whole(self, across: int, down: int) -> int:
        """The bytes of ``across`` times ``down`` blocks."""
        width = min(self._width, across * self._block_width)
        height = min(self._height, down * self._block_height)
        return int(width * height * self._decoded_bytes)


def _item_bytes(dataset: Any) -> int:
    return bytes_of(map(of_rasterio, dataset.dtypes))


def _slowness(dataset: Any) -> int:
    compression = str(dataset.profile.get("compress", "")).upper()
    return max(_SLOWNESS.get(dataset.driver, 1), _SLOWNESS.get(compression, 1))
