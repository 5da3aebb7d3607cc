"""One function over one file in a fresh worker process that reaches its enclosure only, and ends with the call.

Here: starting it, its limits, and ending it with all that it started. Not here: the enclosure itself (`enclosure`), and
pools of workers for many small tasks (`workers.pool`).
"""

import os
import pickle
import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from geo_assets.errors import GeoAssetsError, ReaderCrashed, TooLarge
from geo_assets.workers.enclosure import Enclosure, enter, warn_of_gaps
from geo_assets.workers.pool import Limits, limit_memory, limit_time, reason_of_death
from geo_assets.workers.processes import CleanContext, die_with_parent, read_answer

T = TypeVar("T")
R = TypeVar("R")

# All that reading a file takes but GDAL's bindings, which read their variables when they are imported: what is imported
# here is imported once, and not for each file.
_CONTEXT = CleanContext(
    "geo_assets.workers.enclosed_run",
    "geo_assets.vectors.datasets",
    "geo_assets.vectors.formats",
    "geo_assets.vectors.formats",
    "pyarrow.parquet",
    "pyproj",
    "shapely",
)
MOST_RESULT_BYTES = 64 * 1024**2
OVERDUE_SECONDS = 5.0
"""A worker whose own clock was stopped is ended from here this long after its time."""


def prepare_enclosed_runs() -> None:
    """Have what such workers are forked from import what they need by now; returns at once."""
    _CONTEXT.start_server()


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
    reader, writer = _CONTEXT.Pipe(duplex=False)
    order = pickle.dumps((function, argument))
    process = _CONTEXT.Process(target=_serve, args=(writer, order, limits, enclosure, dict(variables)), daemon=True)
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
