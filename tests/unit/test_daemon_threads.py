"""Threads that nobody has to wait for: what has ended is collected, what is silent for its time is left."""

import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from geo_assets.workers.daemon_threads import Errand, SilenceLimit, collect, start


def test_what_has_ended_is_collected_and_what_is_silent_is_left() -> None:
    release = threading.Event()
    quick, failing = (Errand.begin(work, name="quick", seconds=60) for work in (lambda: "done", lambda: 1 / 0))
    hanging = Errand.begin(lambda: release.wait(60), name="hanging", seconds=0.1)
    patient = Errand.begin(lambda: release.wait(60), name="patient", seconds=60)
    began = time.monotonic()
    errands: list[Errand[Any]] = [quick, failing, hanging, patient]
    ended, left = collect(errands, seconds=0.3)
    assert time.monotonic() - began < 10
    assert (ended, left) == ([quick, failing], [hanging])
    assert quick.future.result() == "done"
    with pytest.raises(ZeroDivisionError):
        failing.future.result()
    release.set()
    assert hanging.future.result(60), "what is left goes on, and its result is there"
    assert collect([hanging, patient], seconds=60) == ([hanging, patient], [])


def test_the_first_that_ends_ends_the_wait() -> None:
    release = threading.Event()
    hanging = Errand.begin(lambda: release.wait(60), name="hanging", seconds=60)
    began = time.monotonic()
    quick = Errand.begin(lambda: None, name="quick", seconds=60)
    errands: list[Errand[Any]] = [hanging, quick]
    assert collect(errands, seconds=60, until_first=True) == ([quick], [])
    assert time.monotonic() - began < 30
    release.set()


def test_work_that_shows_something_is_not_left() -> None:
    patience, release = SilenceLimit(60, shown_at=time.monotonic() - 90), threading.Event()
    errand = Errand(start(lambda: release.wait(60), name="works"), patience)
    assert patience.is_over
    patience.show()
    assert not patience.is_over
    assert collect([errand], seconds=0.0) == ([], [])
    release.set()


def test_work_that_hangs_does_not_hold_up_the_end_of_the_process() -> None:
    program = (
        "import time; from geo_assets.workers.daemon_threads import start; start(lambda: time.sleep(60), name='hangs')"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
