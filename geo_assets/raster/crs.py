"""The CRS of a raster or a layer: what a stranger's file may state, and the way to longitude and latitude.

Here: which CRSs have a place on Earth; cached, thread-safe transformers that never use the network; and PROJ's and
PostGIS's door, since a PROJ string or a bound CRS may name a grid or an init file by its path, which PROJ would open.
Not here: CRSs of sources.yaml, and outlines (`footprint`).
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import pyproj.network
from pyproj.exceptions import CRSError, ProjError

from geo_assets.errors import NoFootprint

pyproj.network.set_network_enabled(active=False)  # type: ignore[attr-defined]  # public, but not re-exported

Array = npt.NDArray[np.float64]

EARTH_AXIS_METRES = (6.34e6, 6.40e6)
"""Semi-major axes of ellipsoids and spheres in use for the Earth: 6,370,997 m to 6,378,388 m, with a margin."""

_PERIODIC_METHODS = ("Mercator", "Equidistant Cylindrical", "Cylindrical Equal Area", "Miller", "Plate")
_NOT_PERIODIC_METHODS = ("Transverse", "Oblique", "Space")


@dataclass(frozen=True, slots=True)
class HorizontalCrs:
    """A CRS of the Earth's surface with its transformers; coordinates are always (x or longitude, y or latitude).

    ``latitude_limit`` is 90 degrees in the unit of a geographic CRS, None for a projected one.
    ``is_periodic``: x goes on past the edge of the world, as in Mercator.
    """

    name: str
    latitude_limit: float | None
    is_periodic: bool
    _to_wgs84: pyproj.Transformer
    _to_own_geographic: pyproj.Transformer
    _is_on_wgs84: bool

    def to_wgs84(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Longitude and latitude in degrees, not finite where the CRS has no such place.

        Where PROJ knows a datum shift only from a grid that is not installed it takes its best other one, so
        old datums (NAD27 and the like) may be off by some hundred metres.
        """
        longitude, latitude = self._to_wgs84.transform(x, y)
        return np.asarray(longitude, dtype=np.float64), np.asarray(latitude, dtype=np.float64)

    def check_round_trip(self, x: Array, y: Array, wgs84: tuple[Array, Array], *, allowed: float) -> None:
        """Raise NoFootprint where a point comes back from longitude and latitude more than ``allowed`` CRS units off.

        ``wgs84`` is what `to_wgs84` gave for the points. Outside the domain of a projection its inverse may give a
        plausible but false place; only this tells.
        """
        longitude, latitude = wgs84 if self._is_on_wgs84 else self._to_own_geographic.transform(x, y)
        back_x, back_y = self._to_own_geographic.transform(longitude, latitude, direction="INVERSE")
        error_x = np.zeros_like(x) if self.is_periodic else np.abs(back_x - x)
        if not float(np.max(np.hypot(error_x, back_y - y))) <= allowed:
            raise NoFootprint(
                f"An edge of the raster lies outside the area of {self.name}: "
                "the way to longitude and latitude and back ends elsewhere."
            )


@lru_cache(maxsize=256)
def horizontal_crs(wkt2: str) -> HorizontalCrs:
    """The horizontal part of the CRS in ``wkt2``. pyproj's objects are thread-safe by keeping one each thread.

    Raises NoFootprint where it is no CRS of the Earth's surface or PROJ cannot work with it.
    """
    try:
        crs = _horizontal_part(pyproj.CRS.from_wkt(wkt2))
        source = crs.source_crs or crs if crs.is_bound else crs
        _check_earth(source)
        geographic = source.geodetic_crs
        to_wgs84 = pyproj.Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
        to_own = pyproj.Transformer.from_crs(source, geographic, always_xy=True)
        return HorizontalCrs(
            name=_label(crs),
            latitude_limit=_latitude_limit(source),
            is_periodic=_is_periodic(source),
            _to_wgs84=to_wgs84,
            _to_own_geographic=to_own,
            _is_on_wgs84=to_wgs84.definition == to_own.definition and to_own.definition.startswith("proj="),
        )
    except (CRSError, ProjError) as error:
        raise NoFootprint(f"PROJ cannot take this CRS to longitude and latitude: {error}.") from error


def _horizontal_part(crs: pyproj.CRS) -> pyproj.CRS:
    while crs.is_compound:
        crs = crs.sub_crs_list[0]
    return crs.to_2d() if len(crs.axis_info) == 3 and not crs.is_geocentric else crs


def _check_earth(crs: pyproj.CRS) -> None:
    if not (crs.is_geographic or crs.is_projected):
        raise NoFootprint(f"The CRS {crs.name!r} is a {crs.type_name}, which cannot be placed on the Earth.")
    ellipsoid = crs.ellipsoid
    if ellipsoid is None or crs.geodetic_crs is None:
        raise NoFootprint(f"The CRS {crs.name!r} does not say which ellipsoid it is on.")
    low, high = EARTH_AXIS_METRES
    if not low <= ellipsoid.semi_major_metre <= high:
        raise NoFootprint(
            f"The CRS {crs.name!r} is on an ellipsoid of {ellipsoid.semi_major_metre:.0f} m, which is not the Earth."
        )


def _label(crs: pyproj.CRS) -> str:
    authority = crs.to_authority(min_confidence=100)
    return ":".join(authority) if authority else f"the CRS {crs.name!r} (no code)"


def _latitude_limit(crs: pyproj.CRS) -> float | None:
    return math.pi / 2 / crs.axis_info[0].unit_conversion_factor if crs.is_geographic else None


def _is_periodic(crs: pyproj.CRS) -> bool:
    if crs.is_geographic:
        return True
    method = crs.coordinate_operation.method_name if crs.coordinate_operation else ""
    return any(word in method for word in _PERIODIC_METHODS) and not any(
        word in method for word in _NOT_PERIODIC_METHODS
    )


MOST_BYTES = 1024**2
_AUTHORITY = re.compile(r"(urn:ogc:def:crs:[A-Za-z0-9:._-]*|[A-Za-z0-9_]+:[A-Za-z0-9._-]+)", re.ASCII)
_WKT = re.compile(r"[A-Za-z_]+[0-9]*[A-Za-z_]*\s*[\[(]", re.ASCII)
_GRID = re.compile(r"@?[A-Za-z0-9_][A-Za-z0-9_.-]*(,@?[A-Za-z0-9_][A-Za-z0-9_.-]*)*", re.ASCII)
"""Names of grids that PROJ looks up in its own folder."""


def known_crs(text: str, *, assume_crs: str | None) -> pyproj.CRS:
    """The CRS of ``text``, be it stated by a file or the source's own. Raises ValueError as `crs` does."""
    return pyproj.CRS.from_user_input(text) if text == assume_crs else stated_crs(text)


def stated_crs(text: str) -> pyproj.CRS:
    """The CRS of ``text``: an authority's code, WKT or PROJJSON. Raises ValueError for all else and for paths."""
    text = text.strip()
    if len(text) > MOST_BYTES:
        raise ValueError(f"its definition has {len(text):,} characters")
    if _AUTHORITY.fullmatch(text) is None and _WKT.match(text) is None and not text.startswith("{"):
        raise ValueError("it is no code of an authority, WKT or PROJJSON")
    if _AUTHORITY.fullmatch(text) is None:
        _check(text)
    try:
        crs = pyproj.CRS.from_user_input(text)
        about = json.loads(crs.to_json())
    except (pyproj.exceptions.CRSError, RecursionError) as error:
        raise ValueError(str(error)[:200] or type(error).__name__) from error
    for value in _strings(about):
        _check(value)
    for value in _parameter_files(about):
        if _GRID.fullmatch(value) is None:
            raise ValueError(f"it names the file {value[:100]!r}")
    return crs


def _check(text: str) -> None:
    """Refuse a PROJ string, inside of a name or an extension, with the path of a file."""
    for match in re.finditer(r"(grids|catalog|init|file|model|geoids?)\s*=\s*([^\s\"]*)", text, re.IGNORECASE):
        if _GRID.fullmatch(match.group(2)) is None and not re.fullmatch(r"[A-Za-z]+:[0-9]+", match.group(2)):
            raise ValueError(f"it names the file {match.group(2)[:100]!r}")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each)


def _parameter_files(value: Any) -> Iterator[str]:
    """The parameters of operations whose values are names of files."""
    if isinstance(value, dict):
        for parameter in value.get("parameters") or ():
            if isinstance(parameter, dict) and isinstance(parameter.get("value"), str):
                yield parameter["value"]
        for each in value.values():
            yield from _parameter_files(each)
    elif isinstance(value, list):
        for each in value:
            yield from _parameter_files(each)
