"""How many blobs one dynamic step takes, and what a run over a source would do, worked out before it starts.

Here: the one place for the rule of fan-out, at every size; the figures of a dry run and what follows from them. Not
here: listing and comparing (`geo_assets.assets.container_listing`).

A Dagster step costs far more than a file (0.1 s in-process to 3 s by spawn, and some 15 event rows),
so the number of steps is bounded, not the number of files.
"""

from dataclasses import asdict, dataclass
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


FIXED_STEPS = 7
"""Steps of ingest_rasters that are always there: listing, collection, census, and plan and finish of both stages."""


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """What is new, changed, gone and left over in a source, in blobs; ``size_bytes`` of what would be worked on.

    ``deleted`` is None where the listing stopped at the source's limit: then nothing would be deleted.
    """

    source: str
    new: int
    changed: int
    deleted: int | None
    unchanged: int
    pending: int
    size_bytes: int

    @property
    def blobs(self) -> int:
        """How many blobs a run would work on."""
        return self.new + self.changed + self.pending

    @property
    def blobs_a_batch(self) -> int:
        """By the fan-out rule."""
        return batch_size(self.blobs)

    @property
    def batches(self) -> int:
        """How many batches each mapped stage would have."""
        return ceil(self.blobs / self.blobs_a_batch)

    @property
    def expected_steps(self) -> int:
        """How many steps the run would have in all."""
        return FIXED_STEPS + MAPPED_STAGES * self.batches

    def as_dict(self) -> dict[str, int | str | None]:
        """Every figure by its name."""
        derived = ("blobs", "blobs_a_batch", "batches", "expected_steps")
        return asdict(self) | {name: getattr(self, name) for name in derived}
