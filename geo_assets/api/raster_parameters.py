"""What requests for pictures may say: sizes as the library reads them, and what it would fail at, by name.

Here: checks of parameters before anything is opened. Not here: what a picture costs, which depends on the raster too
(`raster_cost`, `drawing`).
"""

import ast
import json
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any

from color_operations import parse_operations
from fastapi import Request
from pydantic import BaseModel, Field, ValidationError
from rio_tiler.expression import get_expression_blocks, validate_expression

from geo_assets.api.drawing import MOST_PIXELS_A_SIDE
from geo_assets.api.problems import InvalidRequest, RequestTooLarge
from geo_assets.api.raster_cost import FARTHEST

MOST_EXPRESSION_CHARACTERS = 1000
MOST_EXPRESSION_BANDS = 12
MOST_EXPRESSION_OUTPUTS = 16
MOST_COLORMAP_CHARACTERS = 32_000
MOST_ALGORITHM_STEPS = 1000
MOST_LISTED = 64
_SIDE = Field(le=MOST_PIXELS_A_SIDE)
_NEVER_SHOWN = 64
_LINE_ENDS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"


class Sizes(BaseModel):
    """Every parameter that makes a picture or a search larger, read by the rules that the library reads it by."""

    width: Annotated[int | None, _SIDE] = None
    height: Annotated[int | None, _SIDE] = None
    max_size: Annotated[int | None, _SIDE] = None
    tilesize: Annotated[int | None, _SIDE] = None
    buffer: Annotated[float | None, Field(le=MOST_PIXELS_A_SIDE / 2)] = None
    padding: Annotated[int | None, Field(le=MOST_PIXELS_A_SIDE / 2)] = None
    cover_scale: Annotated[int | None, Field(le=1000)] = None
    items_limit: Annotated[int | None, Field(le=250)] = None
    scan_limit: Annotated[int | None, Field(le=10_000)] = None
    time_limit: Annotated[int | None, Field(le=30)] = None
    minzoom: Annotated[int | None, Field(le=40)] = None
    maxzoom: Annotated[int | None, Field(le=40)] = None
    z: Annotated[int | None, Field(le=40)] = None


def require_bounded_size(request: Request) -> None:
    """Raise RequestTooLarge for a size above its limit; one that cannot be read is the library's to refuse."""
    given = {name: request.query_params[name] for name in Sizes.model_fields if name in request.query_params}
    given |= {name: value for name, value in request.path_params.items() if name in Sizes.model_fields}
    _require_on_earth(request.path_params)
    for error in errors_of(given):
        if error["type"] == "less_than_equal":
            name, most = error["loc"][0], error["ctx"]["le"]
            raise RequestTooLarge(
                f"`{name}` is {_short(given[str(name)])}; at most {most:,g} is allowed.",
                remedy="Ask for less; a map asks for tiles.",
            )


def _require_on_earth(given: Mapping[str, Any]) -> None:
    """Raise InvalidRequest for a tile or a coordinate far out: PROJ goes round the Earth for it, turn by turn."""
    level = min(40, max(0, int(given["z"]))) if str(given.get("z", "")).lstrip("-").isdigit() else 0
    most = {"x": 2 ** (level + 10), "y": 2 ** (level + 10)}
    most |= dict.fromkeys(("minx", "miny", "maxx", "maxy", "lon", "lat"), int(FARTHEST))
    for name in most.keys() & given.keys():
        try:
            value = float(given[name])
        except ValueError:
            continue  # which the library says
        if not abs(value) <= most[name]:
            raise InvalidRequest(f"`{name}` is {_short(given[name])}, which is nowhere.")


def errors_of(given: Mapping[str, Any]) -> list[Any]:
    """What pydantic has to say of these sizes."""
    try:
        Sizes.model_validate(dict(given))
    except ValidationError as error:
        return error.errors()
    return []


def require_readable(request: Request) -> None:
    """Raise InvalidRequest for a parameter that the library would fail at, with its name and what is wrong."""
    query = request.query_params
    for text in (*query.getlist("expression"), *_asset_expressions(query.getlist("assets"))):
        check_expression(text)
    if max(len(query.getlist(name)) for name in ("assets", "rescale", "p", "c", "bidx")) > MOST_LISTED:
        raise InvalidRequest(f"A parameter is repeated more than {MOST_LISTED} times.")
    for name, check in _CHECKS.items():
        for text in query.getlist(name):
            try:
                check(text)
            except (ValueError, TypeError, KeyError, ArithmeticError, AssertionError, RecursionError) as error:
                raise InvalidRequest(f"`{name}` is {_short(text)!r}: {_short(error) or 'not readable'}.") from error


def require_listable(request: Request) -> None:
    """Raise InvalidRequest for what a list of searches cannot be chosen or sorted by: the library fails at it."""
    for name, value in request.query_params.multi_items():
        if unfit := {"%", "\0", *_LINE_ENDS} & set(name + value):
            found = ", ".join(map(repr, sorted(unfit)))
            raise InvalidRequest(f"The parameter {_short(name)!r} has {found}, which no search has.")


def check_expression(text: str) -> None:
    """Raise InvalidRequest unless it is arithmetic on bands that is soon done.

    numexpr hands the text to Python: of numbers alone `9**9**9` never ends, and text times a number fills the memory.
    """
    if len(text) > MOST_EXPRESSION_CHARACTERS:
        raise InvalidRequest(f"`expression` has {len(text):,} characters; at most {MOST_EXPRESSION_CHARACTERS:,}.")
    blocks = get_expression_blocks(text)
    if len(blocks) > MOST_EXPRESSION_OUTPUTS:
        raise InvalidRequest(f"`expression` makes {len(blocks)} bands; at most {MOST_EXPRESSION_OUTPUTS}.")
    try:
        validate_expression(text)
        nodes = [node for block in blocks for node in ast.walk(ast.parse(block.strip(), mode="eval"))]
        reasons = [reason for node in nodes if (reason := _refusal(node))]
    except (RecursionError, MemoryError, SyntaxError, ValueError) as error:
        raise InvalidRequest(f"`expression` is {_short(text)!r}, which cannot be read.") from error
    except Exception as error:  # rio-tiler's own
        raise InvalidRequest(f"`expression` is {_short(text)!r}: {_short(error)}.") from error
    if reasons:
        raise InvalidRequest(f"`expression` is {_short(text)!r}: {reasons[0]}.")
    if not any(isinstance(node, ast.Name) and re.fullmatch(r"b\d+", node.id) for node in nodes):
        raise InvalidRequest(f"`expression` is {_short(text)!r}, which names no band, such as b1.")
    if len({node.id for node in nodes if isinstance(node, ast.Name)}) > MOST_EXPRESSION_BANDS:
        raise InvalidRequest(f"`expression` names more than {MOST_EXPRESSION_BANDS} bands.")


def _refusal(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and (isinstance(node.value, bool) or not isinstance(node.value, int | float)):
        return f"{_short(node.value)!r} is no number"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        if not any(isinstance(each, ast.Name) for each in ast.walk(node.left)):
            return "a number is raised to a power"
        if any(isinstance(each, ast.BinOp) for each in ast.walk(node.right)):
            return "a power is no plain number"
    return ""


def _asset_expressions(assets: list[str]) -> list[str]:
    options = [option for asset in assets for option in asset.split("|")[1:]]
    return [option.partition("=")[2] for option in options if option.startswith("expression=")]


def _check_assets(text: str) -> None:
    if len(text) > 2 * MOST_EXPRESSION_CHARACTERS:
        raise ValueError("too long")
    for option in text.split("|")[1:]:
        key, equals, value = option.partition("=")
        if not equals:
            raise ValueError(f"{option!r} has no value")
        if key == "bidx":
            for number in value.split(","):
                _check_band(number)
            if value.count(",") >= MOST_LISTED:
                raise ValueError(f"more than {MOST_LISTED} bands")


def _check_band(text: str) -> None:
    if int(text) < 1:
        raise ValueError("bands are counted from 1")


def _check_color_formula(text: str) -> None:
    if len(text) > MOST_EXPRESSION_CHARACTERS:
        raise ValueError("too long")
    list(parse_operations(text))  # which reads as it is iterated


def _check_nodata(text: str) -> None:
    if text not in ("nan", "inf", "-inf") and not math.isfinite(float(text)):
        raise ValueError("not a number that a raster can hold")


def _check_rescale(text: str) -> None:
    low, high = (float(part.strip("[]| ")) for part in text.split(","))
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError("two numbers, the smaller first, are needed")


def _check_colormap(text: str) -> None:
    if len(text) > MOST_COLORMAP_CHARACTERS:
        raise ValueError(f"more than {MOST_COLORMAP_CHARACTERS:,} characters")
    value = json.loads(text)
    if not value or not isinstance(value, dict | list):
        raise ValueError("an object or a list of colours is needed")
    if isinstance(value, list) and not all(_is_interval(each) for each in value):
        raise ValueError("in a list each colour comes after its interval")


def _is_interval(given: Any) -> bool:
    return isinstance(given, list) and len(given) == 2 and isinstance(given[0], list) and len(given[0]) == 2


def _check_percentile(text: str) -> None:
    if not 0 <= float(text) <= 100:
        raise ValueError("percentiles are from 0 to 100")


def _check_bins(text: str) -> None:
    edges = [float(part) for part in text.split(",")]
    if len(edges) > MOST_ALGORITHM_STEPS or (len(edges) == 1 and not 1 <= edges[0] <= MOST_ALGORITHM_STEPS):
        raise ValueError(f"from 1 to {MOST_ALGORITHM_STEPS:,} bins are counted")
    if edges != sorted(edges):
        raise ValueError("the edges do not rise")


def _check_crs(text: str) -> None:
    if not re.fullmatch(r"\[?[\w.:/-]{1,120}\]?", text):
        raise ValueError("a code is needed, such as EPSG:3857")


def _check_range(text: str) -> None:
    low, high = (float(part) for part in text.split(","))
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError("two numbers, the smaller first, are needed")


def _check_algorithm_params(text: str) -> None:
    if len(text) > MOST_EXPRESSION_CHARACTERS:
        raise ValueError("too long")
    value = json.loads(text)
    if not isinstance(value, dict):
        raise TypeError("an object is needed")
    low, high, step = value.get("minz", -12_000), value.get("maxz", 8000), value.get("increment", 35)
    if (float(high) - float(low)) / float(step) > MOST_ALGORITHM_STEPS:
        raise ValueError(f"more than {MOST_ALGORITHM_STEPS:,} contours")


_CHECKS = {
    "assets": _check_assets,
    "bidx": _check_band,
    "color_formula": _check_color_formula,
    "nodata": _check_nodata,
    "rescale": _check_rescale,
    "colormap": _check_colormap,
    "crs": _check_crs,
    "dst_crs": _check_crs,
    "coord_crs": _check_crs,
    "p": _check_percentile,
    "histogram_bins": _check_bins,
    "histogram_range": _check_range,
    "algorithm_params": _check_algorithm_params,
}


def _short(value: object) -> str:
    """A value as a message may show it."""
    text = str(value).splitlines()[0] if str(value) else ""
    return text if len(text) <= _NEVER_SHOWN else f"{text[:_NEVER_SHOWN]}..."
