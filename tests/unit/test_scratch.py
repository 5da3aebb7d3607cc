"""Folders for work under way: what a dead process left is cleared by the next, and nobody else's is touched."""

import errno
import fcntl
from pathlib import Path

import pytest

from geo_assets.errors import DiskFull, FolderNotWritable, ScratchFull
from geo_assets.settings import Settings
from geo_assets.storage.scratch import appearing_whole, open_scratch


def left(parent: Path, name: str) -> Path:
    """What a process that was killed leaves: its file, and a lock that nobody holds."""
    folder = parent / name
    folder.mkdir(parents=True)
    (folder / ".lock").touch()
    (folder / "dump").write_text("half")
    return folder


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_next_clears_what_a_dead_process_left_and_only_that(tmp_path: Path) -> None:
    left(tmp_path, ".cat.dump.abcd.partial")
    (tmp_path / ".cat.dump.no_lock_yet.partial").mkdir()
    left(tmp_path, ".other.dump.abcd.partial")
    left(tmp_path, ".cat.dump.mine")
    living = left(tmp_path, ".cat.dump.efgh.partial")
    (tmp_path / ".cat.dump.full.partial").mkdir()
    (tmp_path / ".cat.dump.full.partial" / "no lock").touch()
    kept = {".other.dump.abcd.partial", ".cat.dump.mine", ".cat.dump.efgh.partial", ".cat.dump.full.partial"}
    with (living / ".lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with appearing_whole(tmp_path / "cat.dump") as path:
            (own,) = names(tmp_path) - kept
            path.write_text("whole")
    assert own.startswith(".cat.dump.")
    assert names(tmp_path) == kept | {"cat.dump"}
    assert (tmp_path / "cat.dump").read_text() == "whole"


def test_two_at_once_leave_each_other_alone(tmp_path: Path) -> None:
    with appearing_whole(tmp_path / "a") as first, appearing_whole(tmp_path / "a") as second:
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "a").read_text() == "first"
    assert names(tmp_path) == {"a"}


def test_a_folder_takes_the_place_of_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with appearing_whole(tmp_path / "new") as folder:
        (folder / "deep").mkdir(parents=True)
    assert names(tmp_path / "new") == {"deep"}


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, DiskFull),
        (errno.EDQUOT, DiskFull),
        (errno.EFBIG, DiskFull),
        (errno.EROFS, FolderNotWritable),
        (errno.EACCES, FolderNotWritable),
        (errno.ECONNRESET, ConnectionResetError),
    ],
)
def test_where_the_block_fails_the_place_is_as_it_was(tmp_path: Path, number: int, kind: type[Exception]) -> None:
    (tmp_path / "a").write_text("before")

    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError(number, "no")

    with pytest.raises(kind), appearing_whole(tmp_path / "a") as path:
        fail(path)
    assert (tmp_path / "a").read_text() == "before"
    assert names(tmp_path) == {"a"}


def test_scratch_is_cleared_and_says_when_it_is_full(tmp_path: Path) -> None:
    settings = Settings(scratch=tmp_path / "scratch")
    left(tmp_path / "scratch", "work-abcd")
    with open_scratch(settings) as folder:
        assert names(tmp_path / "scratch") == {folder.name}
    with pytest.raises(ScratchFull), open_scratch(settings):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(ScratchFull), open_scratch(settings, needed_bytes=2**62):
        pass
    assert names(tmp_path / "scratch") == set()
