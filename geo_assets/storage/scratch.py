"""Folders for work under way, whose owner holds a lock: what a process that was killed left is cleared by the next.

Here: making, checking and clearing such folders, in scratch space or beside the file that is made. Not here: what lies
in them.
"""

import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from geo_assets.errors import ScratchFull
from geo_assets.foreign_errors import DISK_IS_FULL, writing
from geo_assets.settings import Settings

_LOCK = ".lock"
_GROWTH_BYTES = 16 * 1024**2


@contextmanager
def open_scratch(settings: Settings, *, needed_bytes: int = 0) -> Iterator[Path]:
    """A folder of our own with room for ``needed_bytes``, gone after the block. Raises ScratchFull."""
    scratch = settings.scratch_folder
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        folder, lock = _make(scratch, prefix="work-")
        free = shutil.disk_usage(scratch).free
    except OSError as error:
        raise ScratchFull(f"{scratch} cannot be used: {error.strerror or error}.") from error
    with _removing(folder, lock), filling(scratch):
        if free < needed_bytes:
            raise ScratchFull(f"{scratch} has {free:,} bytes free; this may take {needed_bytes:,}.")
        yield folder


@contextmanager
def filling(scratch: Path) -> Iterator[None]:
    """Raise ScratchFull where the block, which writes there, finds no room."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_IS_FULL:
            raise
        raise ScratchFull(f"{scratch} takes no more: {error.strerror}.") from error


@contextmanager
def appearing_whole(target: Path) -> Iterator[Path]:
    """A path beside ``target`` for a file or folder of that name, which takes its place after the block.

    Where the block fails, the place is as it was. Raises DiskFull and FolderNotWritable.
    """
    target = target.absolute()
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        folder, lock = _make(target.parent, prefix=f".{target.name}.", suffix=".partial")
        with _removing(folder, lock):
            yield folder / target.name
            (folder / target.name).replace(target)


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
        return error.errno in DISK_IS_FULL
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


def _make(parent: Path, *, prefix: str, suffix: str = "") -> tuple[Path, IO[str]]:
    """A new folder and its lock, held; those that are named alike and whose lock no process holds are removed first."""
    for left in parent.glob(f"{glob.escape(prefix)}*{suffix}"):
        _clear_abandoned(left)
    while True:
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=prefix, suffix=suffix))
        if (lock := _hold(folder)) is not None:
            return folder, lock


def _hold(folder: Path) -> IO[str] | None:
    """The lock of a folder that was just made; None where another process took it for abandoned before we had it."""
    with ExitStack() as stack, suppress(FileNotFoundError):
        lock = stack.enter_context((folder / _LOCK).open("w"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / _LOCK).stat().st_ino == os.fstat(lock.fileno()).st_ino:
            stack.pop_all()
            return lock
    return None


@contextmanager
def _removing(folder: Path, lock: IO[str]) -> Iterator[None]:
    with lock:
        try:
            yield
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _clear_abandoned(folder: Path) -> None:
    """Remove the folder if no process holds its lock; one that another user made stays."""
    with suppress(OSError), (folder / _LOCK).open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        folder.rmdir()  # of a process that was killed before it had a lock: it is empty
