"""Scratch space: folders for work under way, looked at before they are filled, and gone with it.

Here: making, checking and clearing folders. Not here: what lies in them.
"""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from geo_assets.errors import ScratchFull
from geo_assets.settings import Settings

_LOCK = ".lock"
_GROWTH_BYTES = 16 * 1024**2


@contextmanager
def open_scratch(settings: Settings, *, needed_bytes: int) -> Iterator[Path]:
    """A folder of our own with room for ``needed_bytes``, gone after the block. Raises ScratchFull.

    What processes that were killed left behind is cleared first: a folder whose lock is free is nobody's.
    """
    scratch = settings.scratch_folder
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        _clear_abandoned(scratch)
        free = shutil.disk_usage(scratch).free
        folder = tempfile.TemporaryDirectory(dir=scratch, prefix="work-", ignore_cleanup_errors=True)
    except OSError as error:
        raise ScratchFull(f"{scratch} cannot be used: {error.strerror or error}.") from error
    with folder as path, (Path(path) / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if free < needed_bytes:
            raise ScratchFull(f"{scratch} has {free:,} bytes free; this may take {needed_bytes:,}.")
        yield Path(path)


def takes_no_more(folder: Path) -> bool:
    """Whether the largest file in ``folder`` cannot grow: libraries that write do not always say that this was why."""
    files = [path for path in folder.glob("*") if path.is_file()]
    if not files:
        return shutil.disk_usage(folder).free < _GROWTH_BYTES
    largest = max(files, key=lambda path: path.stat().st_size)
    try:
        with largest.open("r+b") as file:
            os.posix_fallocate(file.fileno(), largest.stat().st_size, _GROWTH_BYTES)
    except OSError as error:
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return False


def used_bytes(folder: Path) -> int:
    """The bytes of the files in ``folder``; what goes away meanwhile does not count."""
    total = 0
    for path in folder.glob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


def _clear_abandoned(scratch: Path) -> None:
    for folder in scratch.glob("work-*"):
        try:
            with (folder / _LOCK).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except (FileNotFoundError, NotADirectoryError, BlockingIOError):  # made or gone a moment ago, or in use
            continue
