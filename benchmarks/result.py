"""What a benchmark found, and how that is kept in results.json.

Here: the values and their JSON. Not here: measuring, and showing it to people (`report`).
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

Figure = float | Mapping[str, float] | None
"""One number, or one for each size; None where there is none."""


class BenchmarkFailed(Exception):
    """A measurement could not be taken: what ran ended badly, or left the work undone."""


class NotAvailable(Exception):
    """This checkout has no such feature to measure."""


@dataclass(frozen=True, slots=True)
class Target:
    """The bound a value must keep; ``at_least`` says on which side."""

    limit: float
    at_least: bool

    def is_met_by(self, value: float) -> bool:
        """Whether ``value`` keeps the bound."""
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:,g}"


def at_least(limit: float) -> Target:
    """A target from below."""
    return Target(limit, at_least=True)


def at_most(limit: float) -> Target:
    """A target from above."""
    return Target(limit, at_least=False)


@dataclass(frozen=True, slots=True)
class Result:
    """One figure: ``value`` against ``target``, and the two measurements behind it, in ``unit``.

    ``value`` is None where nothing could be measured; ``note`` then says why.
    """

    name: str
    value: float | None
    unit: str
    target: Target | None = None
    ours: Figure = None
    peer: Figure = None
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether it was measured and keeps its target, where it has one."""
        return self.value is not None and (self.target is None or self.target.is_met_by(self.value))

    def rounded(self) -> "Result":
        """Return the result with its figures as results.json has them."""
        return replace(self, value=_rounded(self.value), ours=_rounded(self.ours), peer=_rounded(self.peer))

    def as_json(self) -> dict[str, Any]:
        """The entry of results.json; the name is its key."""
        return {
            "value": _rounded(self.value),
            "target": self.target.limit if self.target else None,
            "ok": self.ok,
            "ours": _rounded(self.ours),
            "peer": _rounded(self.peer),
            "unit": self.unit,
        }


def ratio(name: str, *, ours: float, peer: float, unit: str, target: Target | None = None) -> Result:
    """``ours`` over ``peer``, both measured in ``unit``."""
    return Result(name, ours / peer, f"ratio of {unit}", target, ours, peer)


def write_results(path: Path, results: Iterable[Result], *, keep_others: bool) -> None:
    """Write results.json; ``keep_others`` leaves the figures there that were not measured now."""
    kept = json.loads(path.read_text("utf-8")) if keep_others and path.exists() else {}
    document = {**kept, **{result.name: result.as_json() for result in results}}
    path.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


def _rounded(figure: Figure) -> Any:
    """Four significant digits: the rest is noise, and makes every run a long diff."""
    if figure is None:
        return None
    if isinstance(figure, Mapping):
        return {size: _rounded(number) for size, number in figure.items()}
    number = float(f"{figure:.4g}")
    return int(number) if number.is_integer() else number
