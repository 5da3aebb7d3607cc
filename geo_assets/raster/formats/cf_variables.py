"""A NetCDF file as CF sees it: dimensions, variables with attributes, and values on demand.

Here: the values every reader of a container format gives. Not here: reading one (`netcdf_classic`, `hdf5`), and what
the attributes mean (`cf_grid`, `cf_time`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

MAX_VARIABLES = 2000
MAX_VALUES = 1_000_000
"""A coordinate longer than this is not read: no honest axis is."""


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable; ``dimensions`` are names, ``data_type`` is numpy's name of it ("" where it is no number).

    ``read`` gives its values as float64, unpacked by nothing; of a long record variable the first and the last only,
    which suffice where coordinates are monotonic. It raises TooLarge past `MAX_VALUES`.
    """

    name: str
    dimensions: tuple[str, ...]
    shape: tuple[int, ...]
    data_type: str
    attributes: Mapping[str, Any]
    read: Callable[[], Array]

    def text(self, attribute: str) -> str:
        """A text attribute, "" where there is none."""
        value = self.attributes.get(attribute)
        return value.strip() if isinstance(value, str) else ""

    def number(self, attribute: str) -> float | None:
        """A numeric attribute as a finite number, None where there is none."""
        try:
            value = float(np.asarray(self.attributes.get(attribute), dtype=np.float64).ravel()[0])
        except (TypeError, ValueError, IndexError):
            return None
        return value if np.isfinite(value) else None

    def values(self) -> Array:
        """Its values by scale_factor and add_offset, without missing ones."""
        raw = self.read().ravel()
        for attribute in ("_FillValue", "missing_value"):
            if (fill := self.number(attribute)) is not None:
                raw = raw[raw != fill]
        scale, offset = self.number("scale_factor"), self.number("add_offset")
        unpacked: Array = raw * (1.0 if scale is None else scale) + (0.0 if offset is None else offset)
        return unpacked[np.isfinite(unpacked)]


@dataclass(frozen=True, slots=True)
class CfFile:
    """The variables of a file's root group by name, and its global attributes."""

    variables: Mapping[str, Variable]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def coordinate(self, dimension: str) -> Variable | None:
        """The coordinate variable of a dimension: one of its name, along it alone."""
        variable = self.variables.get(dimension)
        return variable if variable is not None and variable.dimensions == (dimension,) and variable.data_type else None
