"""The number of mapped steps stays bounded, whatever the number of blobs."""

from math import ceil

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from geo_assets.assets.plan import BATCH_SIZE, LARGE_BATCH_SIZE, MAPPED_STAGES, STEP_BUDGET, batch_size


def steps(blobs: int, *, step_budget: int = STEP_BUDGET) -> int:
    """How many mapped steps one stage has."""
    return ceil(blobs / batch_size(blobs, step_budget=step_budget))


@pytest.mark.parametrize(
    ("blobs", "size", "steps_a_stage"),
    [
        (0, 1, 0),
        (1, 1, 1),
        (10, 1, 10),
        (49, 1, 49),
        (50, 100, 1),
        (100, 100, 1),
        (101, 100, 2),
        (1_000, 100, 10),
        (5_000, 100, 50),
        (5_001, 1_000, 6),
        (10_000, 1_000, 10),
        (50_001, 1_100, 46),
        (1_000_000, 20_000, 50),
    ],
)
def test_the_rule_at_every_size(blobs: int, size: int, steps_a_stage: int) -> None:
    assert batch_size(blobs) == size
    assert steps(blobs) == steps_a_stage


@given(st.integers(0, 100_000_000))
@example(49)
@example(50)
@example(5_000)
@example(5_001)
def test_a_run_never_has_more_mapped_steps_than_its_budget(blobs: int) -> None:
    assert MAPPED_STAGES * steps(blobs) <= 100


@given(st.integers(50, 100_000_000), st.integers(1, 1000))
def test_batches_are_hundreds_and_past_a_thousand_no_larger_than_the_budget_needs(blobs: int, step_budget: int) -> None:
    size = batch_size(blobs, step_budget=step_budget)
    share = max(1, step_budget // MAPPED_STAGES)
    assert size % BATCH_SIZE == 0
    assert ceil(blobs / size) <= share
    assert size in (BATCH_SIZE, LARGE_BATCH_SIZE) or ceil(blobs / (size - BATCH_SIZE)) > share


@given(st.integers(0, 49))
def test_a_few_blobs_are_a_step_each(blobs: int) -> None:
    assert batch_size(blobs) == 1


@given(st.integers(0, 10_000_000), st.integers(0, 10_000_000))
def test_more_blobs_never_make_smaller_batches(one: int, other: int) -> None:
    assert batch_size(min(one, other)) <= batch_size(max(one, other))
