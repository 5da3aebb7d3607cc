"""Hard rasters from bytes to footprint, bbox and statistics, against truths that pyproj, shapely and numpy give alone.

A footprint is compared in the raster's own plane (its CRS, or its columns and rows), where the truth is exact.
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import pytest
import shapely
from rasterio.control import GroundControlPoint
from rasterio.rpc import RPC
from rasterio.transform import Affine
from shapely.geometry import shape

from geo_assets.models import Footprint, RasterMetadata
from geo_assets.raster.footprint import known_footprint, read_valid_area, with_footprint
from geo_assets.raster.header import read_raster_metadata, read_tiff_structure
from tests.unit.core.test_statistics import geotiff

Pixels = npt.NDArray[Any]
Plane = Callable[[Any, Any], tuple[Any, Any]]

BUDGET = 10_000_000
NODATA = -9999.0


def described(content: bytes, *, valid_data: bool = False) -> tuple[RasterMetadata, Footprint]:
    """What is read of the file, with statistics, and its footprint."""
    file = io.BytesIO(content)
    metadata = read_raster_metadata(file, statistics_budget_bytes=BUDGET)
    area = None
    if valid_data:
        area = read_valid_area(file, read_tiff_structure(file), budget_bytes=BUDGET, tolerance_pixels=1)
    metadata = with_footprint(metadata, area)
    return metadata, known_footprint(metadata)


def random_pixels(size: tuple[int, int], *, bands: int = 1) -> Pixels:
    return np.random.default_rng(11).normal(100, 25, (bands, *size)).astype("float32")


def check_statistics(metadata: RasterMetadata, pixels: Pixels) -> None:
    """Equal to numpy's over what is neither nodata nor NaN."""
    assert metadata.statistics_source == "all pixels"
    for band, values in zip(metadata.bands, pixels.astype("float64"), strict=True):
        valid = values[np.isfinite(values) & (values != NODATA)]
        assert band.statistics is not None
        assert band.statistics.valid_percent == pytest.approx(100 * valid.size / values.size)
        if valid.size:
            found = (band.statistics.minimum, band.statistics.maximum, band.statistics.mean, band.statistics.stddev)
            assert found == pytest.approx((valid.min(), valid.max(), valid.mean(), valid.std()), rel=1e-6)


def in_plane(footprint: Footprint, plane: Plane) -> Any:
    """The footprint's polygons in another plane, every edge bent as the plane bends it."""
    parts = shapely.get_parts(shape(footprint.geometry))
    dense = shapely.segmentize(parts, 0.05 if shape(footprint.geometry).area > 1 else 0.001)
    bent = shapely.transform(dense, lambda xy: np.column_stack(plane(xy[:, 0], xy[:, 1])))
    return shapely.union_all([shapely.make_valid(each).buffer(0) for each in bent])


def iou(one: Any, other: Any) -> float:
    return float(one.intersection(other).area / one.union(other).area)


def corners(transform: Affine, size: tuple[int, int]) -> Any:
    rows, columns = size
    a, b, c, d, e, f = transform[:6]
    places = [(0, 0), (columns, 0), (columns, rows), (0, rows)]
    return shapely.Polygon([(a * x + b * y + c, d * x + e * y + f) for x, y in places])


def crs_plane(crs: str) -> Plane:
    to_plane: Plane = pyproj.Transformer.from_crs("OGC:CRS84", crs, always_xy=True).transform
    return to_plane


def box_of(truth: Any, crs: str) -> tuple[float, float, float, float]:
    """The RFC 7946 bbox of a region of a CRS that holds no pole, from its densified edge; exact to the densifying."""
    edge = np.asarray(shapely.segmentize(truth.exterior, truth.length / 20_000).coords)
    lon, lat = pyproj.Transformer.from_crs(crs, "OGC:CRS84", always_xy=True).transform(edge[:, 0], edge[:, 1])
    middle = math.degrees(math.atan2(np.sin(np.radians(lon)).mean(), np.cos(np.radians(lon)).mean()))
    away = (lon - middle + 180) % 360 - 180
    west, east = ((middle + each + 180) % 360 - 180 for each in (away.min(), away.max()))
    return west, lat.min(), east, lat.max()


def square(x: float, y: float, side: float, pixels: int) -> Affine:
    """North up, centred on (x, y)."""
    return Affine(side / pixels, 0, x - side / 2, 0, -side / pixels, y + side / 2)


def utm_at_180(crs: str) -> Affine:
    x, y = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(180, -17)
    return square(x, y, 120_000, 120)


TURNED = Affine.translation(600_000, 5_200_000) @ Affine.rotation(30) @ Affine.scale(300, -300)
SINUSOIDAL = "+proj=sinu +R=6371007.181 +units=m +no_defs"


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32633", TURNED),
        ("EPSG:32660", utm_at_180("EPSG:32660")),
        ("EPSG:32601", utm_at_180("EPSG:32601")),
        ("EPSG:32701", utm_at_180("EPSG:32701") @ Affine.rotation(30)),
        (SINUSOIDAL, square(-6_671_703, 5_003_777, 1_111_950, 120)),
        ("EPSG:3035", square(4_500_000, 3_000_000, 4_000_000, 120)),
        ("EPSG:3031", square(2_000_000, 900_000, 600_000, 120)),
        ("EPSG:3413", square(-500_000, -1_500_000, 700_000, 120)),
    ],
    ids=["rotated", "UTM 60", "UTM 1", "UTM 1 rotated", "sinusoidal", "LAEA Europe", "Antarctica", "Arctic"],
)
def test_a_raster_of_a_plane_has_its_place_bbox_and_statistics(crs: str, transform: Affine) -> None:
    pixels = random_pixels((120, 120), bands=2)
    metadata, footprint = described(geotiff(pixels, crs=crs, transform=transform))
    truth = corners(transform, (120, 120))
    assert iou(in_plane(footprint, crs_plane(crs)), truth) > 0.9995
    assert footprint.bbox == pytest.approx(box_of(truth, crs), abs=2e-3)
    check_statistics(metadata, pixels)


@pytest.mark.parametrize(("crs", "pole"), [("EPSG:3031", -90.0), ("EPSG:3413", 90.0)])
def test_a_raster_over_a_pole_holds_it(crs: str, pole: float) -> None:
    pixels = random_pixels((100, 100))
    transform = Affine(40_000, 0, -2_500_000, 0, -40_000, 1_800_000)
    metadata, footprint = described(geotiff(pixels, crs=crs, transform=transform))
    truth = corners(transform, (100, 100))
    assert iou(in_plane(footprint, crs_plane(crs)), truth) > 0.999
    edge = np.asarray(shapely.segmentize(truth.exterior, 1000).coords)
    _, lat = pyproj.Transformer.from_crs(crs, "OGC:CRS84", always_xy=True).transform(edge[:, 0], edge[:, 1])
    furthest = lat[np.argmax(np.abs(lat - pole))]
    expected = (-180, min(pole, furthest), 180, max(pole, furthest))
    assert footprint.bbox == pytest.approx(expected, abs=1e-3)
    check_statistics(metadata, pixels)


@pytest.mark.parametrize(
    ("bounds", "bbox", "truth"),
    [
        ((0, -90, 360, 90), (-180, -90, 180, 90), [(-180, -90, 180, 90)]),
        ((170, -20, 190, 20), (170, -20, -170, 20), [(170, -20, 180, 20), (-180, -20, -170, 20)]),
        ((-190, -20, -170, 20), (170, -20, -170, 20), [(170, -20, 180, 20), (-180, -20, -170, 20)]),
        ((180, 0, 270, 30), (-180, 0, -90, 30), [(-180, 0, -90, 30)]),
    ],
    ids=["0-360", "170..190", "-190..-170", "180..270"],
)
def test_longitudes_past_180_come_back_split(bounds: Any, bbox: Any, truth: Any) -> None:
    west, south, east, north = bounds
    pixels = random_pixels((90, 180))
    transform = Affine((east - west) / 180, 0, west, 0, (south - north) / 90, north)
    metadata, footprint = described(geotiff(pixels, crs="EPSG:4326", transform=transform))
    expected = shapely.union_all([shapely.box(*each) for each in truth])
    assert shape(footprint.geometry).symmetric_difference(expected).area < 1e-6
    assert footprint.bbox == pytest.approx(bbox)
    check_statistics(metadata, pixels)


def test_of_a_pixel_is_point_raster_the_tie_point_is_the_middle_of_its_first_pixel() -> None:
    pixels = random_pixels((64, 64))
    content = geotiff(
        pixels,
        crs="EPSG:4326",
        transform=Affine(0.5, 0, 10, 0, -0.5, 50),
        edit=lambda dataset: dataset.update_tags(AREA_OR_POINT="Point"),
    )
    (tie,) = [tag for tag in read_tiff_structure(io.BytesIO(content)).main_tags if tag.number == 33922]
    column, row, _, x, y, _ = np.frombuffer(tie.payload, "<f8")
    metadata, footprint = described(content)
    assert (column, row) == (0, 0)
    truth = shapely.box(x - 0.25, y + 0.25 - 32, x - 0.25 + 32, y + 0.25)
    assert iou(shape(footprint.geometry), truth) > 0.999999
    assert footprint.bbox == pytest.approx(truth.bounds)
    check_statistics(metadata, pixels)


# Control points and RPCs


@dataclass(frozen=True)
class Bent:
    """A placement with a known bend: (column, row) to CRS units, as an oblique sensor would give it."""

    crs: str
    origin: tuple[float, float]
    pixel: float
    turn: float = 0.0
    bend: float = 0.0

    def place(self, columns: Any, rows: Any) -> tuple[Any, Any]:
        u, v = columns + self.bend * (rows / 100) ** 2, rows + self.bend * (columns / 100) * (rows / 100)
        cos, sin = math.cos(self.turn), math.sin(self.turn)
        return self.origin[0] + self.pixel * (cos * u + sin * v), self.origin[1] + self.pixel * (sin * u - cos * v)

    def points(self, size: tuple[int, int], *, count: int) -> list[GroundControlPoint]:
        """A grid of ``count`` squared points, their longitudes in -180..180."""
        rows, columns = (np.linspace(0, each, count) for each in size)
        found = []
        for row in rows:
            for column in columns:
                x, y = self.place(column, row)
                x = (x + 180) % 360 - 180 if self.crs == "EPSG:4326" else x
                found.append(GroundControlPoint(row=row, col=column, x=x, y=y, z=0))
        return found

    def truth(self, size: tuple[int, int]) -> Any:
        rows, columns = size
        ring = np.asarray(shapely.segmentize(shapely.box(0, 0, columns, rows).exterior, 1).coords)
        return shapely.Polygon(np.column_stack(self.place(ring[:, 0], ring[:, 1])))


@pytest.mark.parametrize(
    ("bent", "count", "method"),
    [
        (Bent("EPSG:32633", (500_000, 5_000_000), 30.0), 2, "thin-plate spline through 4"),
        (Bent("EPSG:32633", (500_000, 5_000_000), 30.0, turn=0.5, bend=2.0), 5, "thin-plate spline through 25"),
        (Bent("EPSG:32660", (790_000, 5_000_000), 500.0, turn=0.2, bend=1.0), 5, "thin-plate spline through 25"),
        (Bent("EPSG:4326", (20.0, 60.0), 0.01, turn=-0.3, bend=3.0), 25, "second-order polynomial fit to 625"),
    ],
    ids=["corners", "turned and bent", "over 180", "many"],
)
def test_control_points_alone_place_a_raster_and_it_says_so(bent: Bent, count: int, method: str) -> None:
    pixels = random_pixels((200, 300))
    points = bent.points((200, 300), count=count)
    metadata, footprint = described(geotiff(pixels, gcps=points, crs=bent.crs, transform=None))
    truth = bent.truth((200, 300))
    assert iou(in_plane(footprint, crs_plane(bent.crs)), truth) > 0.99
    assert footprint.bbox == pytest.approx(box_of(truth, bent.crs), abs=0.02)
    assert footprint.source.startswith("approximate: ")
    assert method in footprint.source
    assert bent.crs in footprint.source
    check_statistics(metadata, pixels)


def test_control_points_either_side_of_180_degrees_are_one_place() -> None:
    bent = Bent("EPSG:4326", (179.0, -16.0), 0.01, turn=0.1, bend=1.0)
    points = bent.points((200, 300), count=4)
    assert min(point.x for point in points) < -170
    _, footprint = described(geotiff(random_pixels((200, 300)), gcps=points, crs="EPSG:4326", transform=None))
    truth = bent.truth((200, 300))
    seen = in_plane(footprint, lambda lon, lat: (lon % 360, lat))
    assert iou(seen, truth) > 0.99
    west, south, east, north = truth.bounds
    assert footprint.bbox == pytest.approx((west, south, east - 360, north), abs=0.01)


def rpcs(*, longitude: float = 15.0, height: float = 350.0) -> RPC:
    """Coefficients with a turn, a perspective and an effect of the height, for 400 lines of 300 samples."""
    zeros = [0.0] * 15
    return RPC(
        height_off=height, height_scale=500.0,
        lat_off=45.0, lat_scale=0.02, long_off=longitude, long_scale=0.02,
        line_off=199.5, line_scale=200.0, samp_off=149.5, samp_scale=150.0,
        line_num_coeff=[0.01, 0.1, -1.05, 0.03, 0.01, *zeros], line_den_coeff=[1.0, 0.01, 0.02, 0.0, 0.0, *zeros],
        samp_num_coeff=[0.0, 1.05, 0.15, -0.04, 0.02, *zeros], samp_den_coeff=[1.0, 0.02, 0.0, 0.0, 0.0, *zeros],
        err_bias=None, err_rand=None,
    )  # fmt: skip


@pytest.mark.parametrize("longitude", [15.0, 179.995])
def test_rpcs_alone_place_a_raster_at_their_height_and_it_says_so(longitude: float) -> None:
    coefficients = rpcs(longitude=longitude)
    content = geotiff(
        random_pixels((400, 300)), crs=None, transform=None, edit=lambda dataset: setattr(dataset, "rpcs", coefficients)
    )
    _, footprint = described(content)
    east, north = np.meshgrid(np.linspace(-1.5, 1.5, 1501), np.linspace(-1.5, 1.5, 1501))
    terms = [np.ones_like(east), east, north, np.zeros_like(east), east * north]  # at the height offset

    def ratio(numerator: list[float], denominator: list[float]) -> Any:
        top, bottom = (sum(c * t for c, t in zip(each, terms, strict=False)) for each in (numerator, denominator))
        return top / bottom

    # RPCs count from the middle of the first pixel.
    line = ratio(coefficients.line_num_coeff, coefficients.line_den_coeff) * 200 + 199.5 + 0.5
    sample = ratio(coefficients.samp_num_coeff, coefficients.samp_den_coeff) * 150 + 149.5 + 0.5
    truth = (line >= 0) & (line <= 400) & (sample >= 0) & (sample <= 300)
    lon, lat = longitude + 0.02 * east, 45.0 + 0.02 * north
    found = shapely.intersects_xy(shape(footprint.geometry), (lon + 180) % 360 - 180, lat)
    assert np.sum(found & truth) / np.sum(found | truth) > 0.99
    wrapped = [(each + 180) % 360 - 180 for each in (lon[truth].min(), lon[truth].max())]
    assert footprint.bbox == pytest.approx((wrapped[0], lat[truth].min(), wrapped[1], lat[truth].max()), abs=1e-4)
    assert footprint.source.startswith("approximate: ")
    assert "at their height offset of 350 m" in footprint.source


# Valid data


def pixel_plane(crs: str, transform: Affine) -> Plane:
    """From longitude and latitude to column and row."""
    to_crs, back = crs_plane(crs), ~transform
    return lambda lon, lat: back @ to_crs(lon, lat)


def test_of_a_raster_without_a_valid_pixel_the_edges_stay_and_it_says_so() -> None:
    pixels = np.full((1, 128, 128), NODATA, "float32")
    content = geotiff(pixels, crs="EPSG:32633", transform=TURNED, nodata=NODATA)
    _, edges = described(content)
    metadata, footprint = described(content, valid_data=True)
    assert footprint.geometry == edges.geometry
    assert "no pixel of the raster is valid" in footprint.source
    check_statistics(metadata, pixels)


def quarter(rows: Any, columns: Any) -> Any:
    return (rows < 100) & (columns < 150)


def ring(rows: Any, columns: Any) -> Any:
    away = np.hypot(rows - 110, columns - 140)
    return (away > 40) & (away < 90)


def islands(rows: Any, columns: Any) -> Any:
    return (np.hypot(rows - 50, columns - 60) < 40) | (np.hypot(rows - 140, columns - 240) < 50)


@pytest.mark.parametrize("where", [quarter, ring, islands])
@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32633", TURNED),
        ("EPSG:32660", Affine(500, 0, 650_000, 0, -500, 5_300_000)),
        ("EPSG:3413", Affine(10_000, 0, -1_400_000, 0, -10_000, 1_100_000)),
        ("EPSG:4326", Affine(0.1, 0, 165, 0, -0.1, 10)),
        ("EPSG:4326", Affine(1.2, 0, 0, 0, -0.9, 90)),
    ],
    ids=["turned", "UTM over 180", "pole in the ring", "170..190", "0-360"],
)
def test_the_outline_of_valid_pixels_is_theirs_and_within_the_edges(crs: str, transform: Affine, where: Any) -> None:
    pixels = random_pixels((200, 300))
    rows, columns = np.mgrid[0:200, 0:300] + 0.5
    valid = where(rows, columns)
    pixels[0, ~valid] = NODATA
    content = geotiff(pixels, crs=crs, transform=transform, nodata=NODATA)
    _, edges = described(content)
    metadata, footprint = described(content, valid_data=True)
    seen = seen_in_pixels(footprint, crs, transform)
    assert np.sum(seen & valid) / np.sum(seen | valid) > (0.99 if where is quarter else 0.98)
    outside = shape(footprint.geometry).difference(shape(edges.geometry))
    assert outside.area < 1e-6 * shape(edges.geometry).area
    assert "the valid pixels of the raster, within 1 pixels of 1/1" in footprint.source
    check_valid_bbox(footprint, crs, transform, valid)
    check_statistics(metadata, pixels)


def centres(crs: str, transform: Affine, size: tuple[int, int]) -> tuple[Any, Any]:
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]] + 0.5
    x, y = transform @ (columns, rows)
    lon, lat = pyproj.Transformer.from_crs(crs, "OGC:CRS84", always_xy=True).transform(x, y)
    return (lon + 180) % 360 - 180, lat


def seen_in_pixels(footprint: Footprint, crs: str, transform: Affine) -> Any:
    """Which pixel centres the footprint holds."""
    return shapely.intersects_xy(shape(footprint.geometry), *centres(crs, transform, (200, 300)))


def check_valid_bbox(footprint: Footprint, crs: str, transform: Affine, valid: Any) -> None:
    """The bbox holds every valid centre and reaches no further than the geometry."""
    lon, lat = (each[valid] for each in centres(crs, transform, (200, 300)))
    west, south, east, north = footprint.bbox
    across = lon if west <= east else lon % 360
    east = east if west <= east else east + 360
    margin = 2.0 if crs == "EPSG:3413" else 1.3 * max(abs(transform.a) if crs == "EPSG:4326" else 0.01, 0.01)
    assert west - margin <= across.min()
    assert across.max() <= east + margin
    assert lat.min() - south == pytest.approx(0, abs=margin)
    assert north - lat.max() == pytest.approx(0, abs=margin)
