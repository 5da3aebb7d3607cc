"""What a run over a source would do, worked out before it starts: the answer to a dry run.

Here: the figures and what follows from them. Not here: listing and comparing (`geo_assets.assets.dry_run`).
"""

from dataclasses import asdict, dataclass
from math import ceil

from geo_assets.assets.fanout import MAPPED_STAGES, batch_size

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
