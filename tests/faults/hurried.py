"""A module of the product's own processes in which less time has to pass before others are believed dead.

As a program: `python -m tests.faults.hurried MODULE ARGUMENTS...`. What takes minutes in the product takes seconds:
until a message shows again, until a silent run without a worker counts as dead, until a request is repeated, until a
source in trouble is asked again.
"""

import runpy
import sys
from datetime import timedelta

from geo_assets.events import storage_queue
from geo_assets.sensors import blob, change, runs


def hurry(*, hidden_seconds: float, silent_seconds: float) -> None:
    """Let messages show again after ``hidden_seconds``, and runs count as dead after ``silent_seconds``."""
    storage_queue.VISIBILITY = timedelta(seconds=hidden_seconds)
    runs.SILENT_SECONDS = silent_seconds
    change.FIRST_RETRY = timedelta(seconds=1)
    runs.LAUNCHED_WITHIN = timedelta(seconds=5)
    blob.FIRST_PAUSE = timedelta(seconds=1)


if __name__ == "__main__":
    _, program, *arguments = sys.argv
    hurry(hidden_seconds=10.0, silent_seconds=10.0)
    sys.argv = [program, *arguments]
    runpy.run_module(program, run_name="__main__", alter_sys=True)
