"""Worker processes for work that a hostile blob may crash, hang or bloat: that blob fails, nothing else.

Here: pools for many small tasks, their limits, and finding the culprit when one dies; and one function over one file in
a fresh process that reaches its enclosure only, and ends with the call and all that it started. Not here: the work
itself (`raster.reader`), the enclosure (`enclosure`).
"""

import os
import pickle
import resource
import signal
import struct
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, replace
from math import ceil
from multiprocessing.connection import Connection, wait
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from pebble import ProcessExpired, ProcessPool

from geo_assets.errors import GeoAssetsError, PermanentError, ReaderCrashed, ReaderTimeout, TooLarge, WorkersUnavailable
from geo_assets.settings import Settings
from geo_assets.workers.enclosure import Enclosure, enter, warn_of_gaps
from geo_assets.workers.processes import CleanContext, die_with_parent, read_answer

T = TypeVar("T")
R = TypeVar("R")
W = TypeVar("W", contravariant=True)
V = TypeVar("V", covariant=True)

# Imported once in the process that workers are forked from, so that a worker starts in milliseconds.
_POOL_CONTEXT = CleanContext("geo_assets.raster.reader")
# A worker that dies before it starts on any blob is tried again this often: nobody's blob is at fault.
_LOST_TRIES = 3
# Pools kept for the next run of a process that has many.
_MOST_KEPT = 4
# All that reading a file takes but GDAL's bindings, which read their variables when they are imported: what is imported
# here is imported once, and not for each file.
_RUN_CONTEXT = CleanContext(
    "geo_assets.workers.pool",
    "geo_assets.vectors.datasets",
    "geo_assets.vectors.formats",
    "pyarrow.parquet",
    "pyproj",
    "shapely",
)
MOST_RESULT_BYTES = 64 * 1024**2
OVERDUE_SECONDS = 5.0
"""A worker whose own clock was stopped is ended from here this long after its time."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one blob may cost a worker: seconds by the clock and of CPU, and the worker's memory in bytes."""

    wall_seconds: float = 60.0
    cpu_seconds: int = 30
    memory_bytes: int = 2 * 1024**3


class Work(Protocol[W, V]):
    """What a worker does to a chunk of tasks; it calls ``start(index)`` before each, in order."""

    def __call__(self, tasks: Sequence[W], start: Callable[[int], None]) -> Sequence[V]:
        """The results, one a task and in the same order."""
        ...


class WorkerPool:
    """Processes that work on chunks of tasks; closed at the end of this process."""

    def __init__(self, *, processes: int, limits: Limits, enclosure: Enclosure | None = None) -> None:
        self._limits = limits
        self._processes = processes
        self._folder = tempfile.TemporaryDirectory(prefix="geo_assets-workers-")
        self._enclosure = enclosure and replace(enclosure, writable=(*enclosure.writable, Path(self._folder.name)))
        self._pool = self._start()
        self._chunks = 0
        self.in_use = 0
        if enclosure is not None:
            warn_of_gaps(enclosure)

    def map(
        self,
        work: Work[T, R],
        tasks: Sequence[T],
        *,
        chunk_size: int,
        lost: Callable[[T, PermanentError], R],
    ) -> Generator[R, None, None]:
        """The result of each task, in no promised order beyond that of a chunk.

        A task whose worker dies gets ``lost(task, error)`` with ReaderCrashed, ReaderTimeout or TooLarge; the
        rest of its chunk is done again. What ``work`` raises ends the iteration. At most two chunks a process
        are under way, so memory is bounded whatever the number of tasks; who closes the iterator ends those too.
        """
        return self.map_renewed(lambda: work, tasks, chunk_size=chunk_size, lost=lost)

    def map_renewed(
        self,
        work: Callable[[], Work[T, R]],
        tasks: Sequence[T],
        *,
        chunk_size: int,
        lost: Callable[[T, PermanentError], R],
    ) -> Generator[R, None, None]:
        """As `map`, with work that is asked for again for each chunk: what opens a store may expire."""
        waiting = deque(tasks[start : start + chunk_size] for start in range(0, len(tasks), chunk_size))
        running: deque[_Chunk[T, R]] = deque()
        lost_before_start = 0
        self.in_use += 1
        try:
            while waiting or running:
                while waiting and len(running) < 2 * self._processes:
                    running.append(self._submit(work(), waiting.popleft()))
                chunk = running.popleft()
                try:
                    yield from chunk.future.result()
                except ProcessExpired as death:
                    index = chunk.started()
                    rest = [task for number, task in enumerate(chunk.tasks) if number != index]
                    if index is not None:
                        yield lost(chunk.tasks[index], reason_of_death(death.exitcode, self._limits))
                    elif (lost_before_start := lost_before_start + 1) >= _LOST_TRIES:
                        raise WorkersUnavailable(f"Worker processes end with status {death.exitcode}.") from death
                    if rest:
                        waiting.appendleft(rest)
                except BrokenProcessPool as broken:  # and with it each chunk that was under way
                    if (lost_before_start := lost_before_start + 1) >= _LOST_TRIES:
                        raise WorkersUnavailable("Worker processes end before they start on a blob.") from broken
                    waiting.extendleft(each.tasks for each in reversed([chunk, *running]))
                    for each in running:
                        each.marker.unlink(missing_ok=True)
                    running.clear()
                finally:
                    chunk.marker.unlink(missing_ok=True)
        finally:
            self.in_use -= 1
            for chunk in running:
                chunk.future.cancel()
                chunk.marker.unlink(missing_ok=True)

    def stop(self) -> None:
        """End the processes; the next task starts others."""
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()

    def close(self) -> None:
        """End the processes for good."""
        self.stop()
        self._folder.cleanup()

    def _submit(self, work: Work[T, R], tasks: Sequence[T]) -> "_Chunk[T, R]":
        self._chunks += 1
        marker = Path(self._folder.name) / str(self._chunks)
        arguments = (work, tasks, str(marker), self._limits)
        try:
            future = self._pool.schedule(_work_on_chunk, args=arguments)
        except RuntimeError:  # pebble gives a pool up for good when it cannot start a worker
            self.stop()
            self._pool = self._start()
            future = self._pool.schedule(_work_on_chunk, args=arguments)
        return _Chunk(tasks, future, marker)

    def _start(self) -> ProcessPool:
        return ProcessPool(
            max_workers=self._processes,
            initializer=_prepare,
            initargs=(self._limits, self._enclosure),
            context=_POOL_CONTEXT,
        )


@dataclass(frozen=True, slots=True)
class _Chunk(Generic[T, R]):
    tasks: Sequence[T]
    future: "Future[Sequence[R]]"
    marker: Path

    def started(self) -> int | None:
        """The index of the task the worker was at, None where it had not begun."""
        try:
            (index,) = struct.unpack("<q", self.marker.read_bytes())
        except (FileNotFoundError, struct.error):
            return None
        return int(index)


def prepare_workers() -> None:
    """Have what workers are forked from import what they need by now, which takes seconds; returns at once."""
    _POOL_CONTEXT.start_server()


def shared_pool(settings: Settings, enclosure: Enclosure) -> WorkerPool:
    """This process's pool of workers, with the numbers and limits of ``settings``; started when first used."""
    limits = Limits(
        wall_seconds=settings.worker_seconds,
        cpu_seconds=ceil(settings.worker_seconds / 2),
        memory_bytes=settings.worker_memory_mb * 1024**2,
    )
    return _KEPT_POOLS.pool(settings.workers, limits, enclosure)


class _KeptPools:
    """Pools that the next caller with the same needs gets; of those not in use, the least recent are closed."""

    def __init__(self) -> None:
        self._pools: dict[object, WorkerPool] = {}
        self._lock = threading.Lock()

    def pool(self, processes: int, limits: Limits, enclosure: Enclosure) -> WorkerPool:
        """The pool. An enclosure holds the folders themselves, so one that was made again is another one."""
        folders = tuple(_identity(path) for path in (*enclosure.readable, *enclosure.writable))
        key = (processes, limits, enclosure, folders)
        with self._lock:
            if not self._pools:
                # Before this process waits for its children: a run's process, itself a child, has no atexit.
                Finalize(None, self._close, exitpriority=10)
            self._pools[key] = pool = self._pools.pop(key, None) or WorkerPool(
                processes=processes, limits=limits, enclosure=enclosure
            )
            idle = [each for each in list(self._pools)[:-_MOST_KEPT] if not self._pools[each].in_use]
            closing = [self._pools.pop(each) for each in idle]
        for each in closing:
            each.close()
        return pool

    def _close(self) -> None:
        while self._pools:
            self._pools.popitem()[1].close()


_KEPT_POOLS = _KeptPools()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _prepare(limits: Limits, enclosure: Enclosure | None) -> None:
    """In a worker, before its first task."""
    die_with_parent()
    limit_memory(limits)
    if enclosure is not None:
        enter(enclosure)


def reason_of_death(exitcode: int, limits: Limits) -> PermanentError:
    """What the way in which a worker died says about the blob it was at."""
    if exitcode in (-signal.SIGALRM, -signal.SIGXCPU):
        return ReaderTimeout(f"Reading it took longer than {limits.wall_seconds:g} s ({limits.cpu_seconds} s of CPU).")
    if exitcode == -signal.SIGKILL:
        return TooLarge(f"Reading it took more memory than the {limits.memory_bytes:,} bytes allowed.")
    with suppress(ValueError):
        return ReaderCrashed(f"The process that read it was ended by {signal.Signals(-exitcode).name}.")
    return ReaderCrashed(f"The process that read it ended with status {exitcode}.")


def limit_memory(limits: Limits) -> None:
    """In a worker: let allocations fail where they would pass the limit, and let no crash write its memory to disk."""
    for kind, most in ((resource.RLIMIT_DATA, limits.memory_bytes), (resource.RLIMIT_CORE, 0)):
        with suppress(ValueError, OSError):  # not every system has this limit
            resource.setrlimit(kind, (most, most))


def limit_time(limits: Limits) -> None:
    """In a worker: have it end once it took the time of one task from now on.

    The default action of both signals ends the process, also from within C code that never returns.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, limits.wall_seconds)
    limit_cpu(limits.cpu_seconds)


def limit_cpu(seconds: int) -> None:
    """In a worker: have it end once it took so much CPU from now on, and leave its clock as it is."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + seconds + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _lift_limits_of_time() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (hard, hard))


def _work_on_chunk(work: Work[T, R], tasks: Sequence[T], marker: str, limits: Limits) -> Sequence[R]:
    """In a worker: do the chunk, marking each start, under the clock and CPU limits of one task."""
    descriptor = os.open(marker, os.O_WRONLY | os.O_CREAT, 0o600)

    def start(index: int) -> None:
        os.pwrite(descriptor, struct.pack("<q", index), 0)
        limit_time(limits)

    try:
        return work(tasks, start)
    finally:
        _lift_limits_of_time()
        os.close(descriptor)


def prepare_enclosed_runs() -> None:
    """Have what such workers are forked from import what they need by now; returns at once."""
    _RUN_CONTEXT.start_server()


def run_enclosed(
    function: Callable[[T], R],
    argument: T,
    *,
    limits: Limits,
    enclosure: Enclosure,
    variables: Mapping[str, str],
) -> R:
    """``function(argument)``, done in a process of its own that holds nothing of this one and reaches ``enclosure``.

    ``variables`` are in its environment before the function's module, and with it GDAL, is imported. Function,
    argument and result are pickled; the result takes 64 MiB at most. Raises what the function raises, and
    ReaderCrashed, ReaderTimeout or TooLarge where its process ends without an answer.
    """
    warn_of_gaps(enclosure)
    reader, writer = _RUN_CONTEXT.Pipe(duplex=False)
    order = pickle.dumps((function, argument))
    process = _RUN_CONTEXT.Process(target=_serve, args=(writer, order, limits, enclosure, dict(variables)), daemon=True)
    with reader:
        with writer:
            process.start()
        assert process.pid is not None
        overdue = threading.Event()
        watchdog = threading.Timer(limits.wall_seconds + OVERDUE_SECONDS, _end_overdue, (process.pid, overdue))
        watchdog.start()
        try:
            answer = _receive(reader, process)
        finally:
            watchdog.cancel()
            _kill(process.pid)
            process.join()
    if answer is None:
        raise reason_of_death(-signal.SIGALRM if overdue.is_set() else process.exitcode or 0, limits)
    try:
        succeeded, outcome = read_answer(answer)
    except Exception as error:
        raise ReaderCrashed(f"The process that read it answered with something else: {str(error)[:200]}.") from error
    if succeeded:
        result: R = outcome
        return result
    raise outcome


def _receive(reader: "Connection[Any, Any]", process: Any) -> bytes | None:
    wait([reader, process.sentinel])
    with suppress(EOFError, OSError):
        if reader.poll():
            return reader.recv_bytes(MOST_RESULT_BYTES)
    process.join()
    return None


def _end_overdue(group: int, overdue: threading.Event) -> None:
    overdue.set()
    _kill(group)


def _kill(group: int) -> None:
    """End the worker and what it started: it is the first of its own group."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _serve(
    writer: "Connection[Any, Any]", order: bytes, limits: Limits, enclosure: Enclosure, variables: dict[str, str]
) -> None:
    """In the worker: the call, under the limits from the start, in the enclosure from after the imports on."""
    os.setsid()
    die_with_parent()
    limit_memory(limits)
    limit_time(limits)
    os.environ.update(variables)
    try:
        function, argument = pickle.loads(order)
        enter(enclosure)
        answer = (True, function(argument))
    except MemoryError:
        answer = (False, TooLarge("Reading it needs more memory than is allowed."))
    except Exception as error:  # noqa: BLE001  raised again by who asked
        answer = (False, error)
    writer.send_bytes(_pickled(answer))
    writer.close()


def _pickled(answer: tuple[bool, Any]) -> bytes:
    try:
        content = pickle.dumps(answer)
        read_answer(content)
    except Exception as error:  # noqa: BLE001  whatever cannot be pickled says so
        name = type(answer[1]).__name__
        return pickle.dumps((False, GeoAssetsError(f"{name} cannot be handed over: {error}.")))
    if len(content) > MOST_RESULT_BYTES:
        return pickle.dumps((False, TooLarge(f"The result has {len(content):,} bytes.")))
    return content
