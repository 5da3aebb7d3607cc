"""How many blobs one dynamic step takes, at every size: the one place for that rule.

A Dagster step costs far more than a file (0.1 s in-process to 3 s by spawn, and some 15 event rows),
so the number of steps is bounded, not the number of files.
"""

from math import ceil

STEP_BUDGET = 100
"""Mapped steps a run may have, over all its mapped stages."""

MAPPED_STAGES = 2
"""The stages of ingest_rasters that fan out: raster_metadata and stac_items."""

ONE_FILE_A_STEP_BELOW = 50
BATCH_SIZE = 100
LARGE_BATCH_SIZE = 1000


def batch_size(blobs: int, *, step_budget: int = STEP_BUDGET) -> int:
    """Blobs a step for a stage with ``blobs`` to do.

    Below 50, one; from there on 100; past the stage's share of the budget 1,000, or the smallest multiple
    of 100 above that keeps within it: with that many blobs, a step for every hundred costs too much.
    """
    if blobs < ONE_FILE_A_STEP_BELOW:
        return 1
    steps = max(1, step_budget // MAPPED_STAGES)
    if blobs <= BATCH_SIZE * steps:
        return BATCH_SIZE
    return max(LARGE_BATCH_SIZE, BATCH_SIZE * ceil(blobs / (BATCH_SIZE * steps)))
