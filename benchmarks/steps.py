"""How many mapped steps a run has at every size, by the rule of the plan: no run is needed for that."""

from math import ceil

from benchmarks.result import Result, at_most
from benchmarks.world import Context
from geo_assets.assets.plan import MAPPED_STAGES, STEP_BUDGET, batch_size

NAMES = ("steps_at",)
SIZES = (10, 49, 50, 1_000, 10_000, 1_000_000)


def run(_context: Context) -> list[Result]:
    """The figure, which needs no service."""
    return [steps_at()]


def steps_at() -> Result:
    """The most mapped steps at any size; the peer has one step a file and stage."""
    ours = {f"{blobs:,}": float(MAPPED_STAGES * ceil(blobs / batch_size(blobs))) for blobs in SIZES}
    peer = {f"{blobs:,}": float(MAPPED_STAGES * blobs) for blobs in SIZES}
    return Result(NAMES[0], max(ours.values()), "mapped steps", at_most(STEP_BUDGET), ours, peer)
