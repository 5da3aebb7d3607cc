"""Work that crashes, hangs or eats memory: that task fails with its reason, the others are done."""

import ctypes
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from geo_assets.errors import PermanentError, StorageUnavailable, WorkersUnavailable
from geo_assets.settings import Settings
from geo_assets.workers.enclosure import Enclosure
from geo_assets.workers.pool import Limits, WorkerPool, prepare_workers, shared_pool

TESTS = Path(__file__).parents[1]  # its folder is where a worker looks for this module
GOOD = [f"good {number}" for number in range(200)]


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    """Two workers with tight limits."""
    pool = WorkerPool(processes=2, limits=Limits(wall_seconds=2, cpu_seconds=1, memory_bytes=1024**3))
    yield pool
    pool.close()


def perform(tasks: Sequence[str], start: Callable[[int], None]) -> list[str]:
    """What a worker does here: mostly nothing, sometimes what a hostile raster would make GDAL do."""
    return [_perform(task, index, start) for index, task in enumerate(tasks)]


def _perform(task: str, index: int, start: Callable[[int], None]) -> str:
    start(index)
    if task == "segfault":
        ctypes.string_at(0)
    elif task == "abort":
        os.abort()
    elif task == "hang":
        time.sleep(1000)
    elif task == "spin":
        while True:
            pass
    elif task == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif task == "store":
        raise StorageUnavailable("down")
    elif task == "memory":
        try:
            bytearray(4 * 1024**3)
        except MemoryError:
            return "too_large"
    return task.upper()


def run(pool: WorkerPool, tasks: list[str]) -> dict[str, str]:
    """The outcome of each task: its result or its error code."""

    def lost(task: str, error: PermanentError) -> str:
        outcomes[task] = error.code
        return ""

    outcomes: dict[str, str] = {}
    results = [result for result in pool.map(perform, tasks, chunk_size=20, lost=lost) if result]
    return outcomes | {result.lower(): result for result in results}


@pytest.mark.parametrize(
    ("task", "code"),
    [
        ("segfault", "reader_crashed"),
        ("abort", "reader_crashed"),
        ("hang", "reader_timeout"),
        ("spin", "reader_timeout"),
        ("killed", "too_large"),
    ],
)
def test_the_culprit_is_named_and_all_others_are_done(pool: WorkerPool, task: str, code: str) -> None:
    outcomes = run(pool, [*GOOD[:50], task, *GOOD[50:]])
    assert outcomes.pop(task) == code
    assert sorted(outcomes) == sorted(GOOD)


def test_an_allocation_past_the_limit_fails_and_the_worker_lives(pool: WorkerPool) -> None:
    assert "too_large" in run(pool, ["memory"])


def test_several_culprits_in_one_chunk_are_each_found(pool: WorkerPool) -> None:
    outcomes = run(pool, ["segfault", *GOOD[:3], "abort", *GOOD[3:6], "hang"])
    codes = {task: outcomes[task] for task in ("segfault", "abort", "hang")}
    assert codes == {"segfault": "reader_crashed", "abort": "reader_crashed", "hang": "reader_timeout"}
    assert set(GOOD[:6]) <= set(outcomes)


def test_an_error_that_is_nobodys_fault_ends_the_work(pool: WorkerPool) -> None:
    with pytest.raises(StorageUnavailable, match="down"):
        run(pool, [*GOOD[:5], "store"])


def test_work_under_way_ends_with_who_wanted_it() -> None:
    pool = WorkerPool(processes=1, limits=Limits(wall_seconds=10_000))
    with closing(pool.map(perform, ["good", "hang", "hang"], chunk_size=1, lost=lambda task, _: task)) as results:
        assert next(results) == "GOOD"
    assert sorted(run(pool, GOOD[:5])) == sorted(GOOD[:5])
    pool.close()


def die_before_the_first_task(tasks: Sequence[str], start: Callable[[int], None]) -> list[str]:
    """A worker that cannot even begin."""
    os.abort()


def test_workers_that_never_begin_are_not_blamed_on_a_task(pool: WorkerPool) -> None:
    with pytest.raises(WorkersUnavailable):
        list(pool.map(die_before_the_first_task, GOOD, chunk_size=20, lost=lambda task, _: task))


def test_a_pool_that_was_given_up_is_started_anew(pool: WorkerPool) -> None:
    pool.stop()
    assert sorted(run(pool, GOOD[:5])) == sorted(GOOD[:5])


def use_the_shared_pool() -> None:
    """What the process of a run does."""
    prepare_workers()
    pool = shared_pool(Settings(), Enclosure(readable=(TESTS.parent,)))
    assert len(list(pool.map(perform, GOOD, chunk_size=50, lost=lambda task, _: task))) == len(GOOD)


def test_the_process_of_a_run_ends_though_its_workers_wait_for_more() -> None:
    """Dagster starts it by multiprocessing, where nothing that was left to atexit happens."""
    process = multiprocessing.get_context("spawn").Process(target=use_the_shared_pool)
    process.start()
    process.join(60)
    if is_left := process.is_alive():
        process.kill()
    assert (is_left, process.exitcode) == (False, 0)
