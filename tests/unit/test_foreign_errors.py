"""Whatever work on a file raises becomes that file's reason, and what no file can help is told apart."""

import errno
import pickle
from types import SimpleNamespace
from typing import Any, cast

import pytest

from geo_assets.errors import (
    Corrupt,
    DatabaseStarting,
    DiskFull,
    GeoAssetsError,
    ScratchFull,
    StorageUnavailable,
    TooLarge,
    Unauthorized,
    Unforeseen,
    WorkersUnavailable,
)
from geo_assets.foreign_errors import reason_of, stops_the_batch
from geo_assets.models import BlobRef, Failure
from geo_assets.vectors.load import LoadTask, work_on_files
from geo_assets.workers.processes import read_answer
from tests.ledgers import blob


def test_an_error_of_ours_is_its_own_reason() -> None:
    error = Corrupt("a.tif ends early.")
    assert reason_of(error) is error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (AssertionError(), "raised AssertionError: no message ("),
        (KeyError("b"), "raised KeyError: 'b' ("),
        (ValueError("first\nlast."), "raised ValueError: last ("),
        (ValueError("nul \0, lone \ud800"), "raised ValueError: nul \\x00, lone \\ud800 ("),
        (ValueError("x" * 10_000), f"raised ValueError: {'x' * 299}… ("),
    ],
)
def test_what_nobody_foresaw_is_said_by_its_class_and_its_last_line(error: Exception, said: str) -> None:
    reason = reason_of(error)
    assert type(reason) is Unforeseen
    assert said in reason.message
    reason.message.encode()


def test_our_file_and_line_are_those_that_the_error_passed_last() -> None:
    task = cast(LoadTask, SimpleNamespace())

    def work(_: LoadTask) -> None:
        int("nothing of geo_assets")

    (reason,) = cast(list[Any], work_on_files(work, [task], lambda _: None))
    assert type(reason) is Unforeseen
    assert "(geo_assets/vectors/load.py, line " in reason.message
    handed_over = read_answer(pickle.dumps(reason))
    assert (type(handed_over), handed_over.message, handed_over.remedy) == (Unforeseen, reason.message, reason.remedy)


def test_an_unforeseen_failure_is_tried_three_times_and_an_outage_for_ever() -> None:
    of: BlobRef = blob("a.tif")
    assert (Failure.of(of, Unforeseen("x")).permanent, Failure.of(of, Unforeseen("x")).max_attempts) == (False, 3)
    assert Failure.of(of, StorageUnavailable("x")).max_attempts is None
    assert Failure.of(of, Corrupt("x")).permanent


@pytest.mark.parametrize(
    ("error", "kind", "stops"),
    [
        (MemoryError(), TooLarge, True),
        (OSError(errno.ENOSPC, "No space left on device"), DiskFull, True),
        (OSError(errno.ENOENT, "No such file"), Unforeseen, False),
        (DatabaseStarting("x"), DatabaseStarting, True),
        (Unauthorized("x"), Unauthorized, True),
        (WorkersUnavailable("x"), WorkersUnavailable, True),
        (StorageUnavailable("x"), StorageUnavailable, False),
        (ScratchFull("x"), ScratchFull, False),
        (ZeroDivisionError(), Unforeseen, False),
    ],
)
def test_what_no_file_can_help_stops_the_batch(error: Exception, kind: type[GeoAssetsError], stops: bool) -> None:
    assert type(reason_of(error)) is kind
    assert stops_the_batch(error) is stops
