"""Programs run and measured from outside: wall time from start to exit, and the memory of the whole tree."""

import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.result import BenchmarkFailed
from tests.services import PROJECT

_SAMPLE_SECONDS = 0.2
_LOG_LINES = 15


@dataclass(frozen=True, slots=True)
class Measured:
    """One program's run; both peaks, the second without the program's own process, are 0 where none was watched."""

    seconds: float
    peak_rss_bytes: int
    output: str
    peak_children_bytes: int = 0


def run_measured(
    command: Sequence[str], *, environment: Mapping[str, str], log: Path, watch_memory: bool = False
) -> Measured:
    """Run ``command`` in the project's folder to its end. Raises BenchmarkFailed where it does not end well.

    Standard output is handed back, the rest goes to ``log``. Watching memory costs the program a little
    time, so a rate is not measured together with it.
    """
    with log.open("wb") as sink:
        began = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=sink,
            text=True,
        )
        watch = _MemoryWatch(process.pid) if watch_memory else None
        output, _ = process.communicate()
        seconds = time.perf_counter() - began
    peak, children = watch.stop() if watch else (0, 0)
    if process.returncode != 0:
        said = "\n".join((log.read_text("utf-8", "replace") + output).splitlines()[-_LOG_LINES:])
        raise BenchmarkFailed(f"{' '.join(command[:4])} ... ended with {process.returncode}:\n{said}")
    return Measured(seconds, peak, output, children)


class _MemoryWatch:
    """The most memory a process and its children had together, seen five times a second."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peak = self._peak_children = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> tuple[int, int]:
        """End the watch; the peak in bytes, and that of the children alone."""
        self._over.set()
        self._thread.join()
        return self._peak, self._peak_children

    def _watch(self) -> None:
        while not self._over.wait(_SAMPLE_SECONDS):
            own, children = _tree_bytes(self._pid)
            self._peak = max(self._peak, own + children)
            self._peak_children = max(self._peak_children, children)


def _tree_bytes(pid: int) -> tuple[int, int]:
    """The memory of a process, and of its children."""
    try:
        root = psutil.Process(pid)
        children = root.children(recursive=True)
    except psutil.NoSuchProcess:
        return 0, 0
    return _resident_bytes(root), sum(_resident_bytes(process) for process in children)


def _resident_bytes(process: "psutil.Process") -> int:
    """Resident memory; pages that several processes share are counted once in all, where the system can tell."""
    try:
        if hasattr(full := process.memory_full_info(), "pss"):
            return int(full.pss)
        return int(full.rss)
    except psutil.Error:
        return 0
