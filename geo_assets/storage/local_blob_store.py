"""A folder as a blob store: what the first run and the tests of the pipeline need no cloud for."""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from geo_assets.errors import BlobChanged, BlobMissing, InvalidConfiguration, StorageUnavailable
from geo_assets.models import BlobPage, BlobRef

PAGE_SIZE = 1000


class LocalBlobStore:
    """The files below ``folder``; links that lead out of it are not followed.

    The etag is made of modification time, size and inode: a file overwritten in place or replaced
    gets another one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def list_pages(self, prefix: str, *, marker: str | None = None) -> Iterator[BlobPage]:
        """Every file below the folder whose path starts with ``prefix``, by name in pages of 1,000.

        The marker is the last name of a page: what was written or deleted before it meanwhile does not matter.
        """
        self._check_folder()
        page: list[BlobRef] = []
        for blob in self._walk(self._folder, "", prefix=prefix, after=marker or ""):
            page.append(blob)
            if len(page) == PAGE_SIZE:
                yield BlobPage(page, blob.name)
                page = []
        yield BlobPage(page)

    def list_level(self, prefix: str) -> Iterator[str]:
        """Files and folders one level below ``prefix``."""
        self._check_folder()
        folder = self._path(prefix)
        if folder.is_dir():
            for name, entry in self._entries(folder, prefix):
                if name.endswith("/") or self._is_own_file(entry):
                    yield name

    def head(self, name: str) -> BlobRef | None:
        """The file ``name``, found on the way on which a listing finds it: what that passes over is not there."""
        return next((blob for page in self.list_pages(name) for blob in page if blob.name == name), None)

    def read_range(self, blob: BlobRef, offset: int, length: int) -> bytes:
        """``length`` bytes at ``offset``, after checking that the open file still has the blob's etag."""
        try:
            with self._path(blob.name).open("rb", buffering=0) as file:
                if _etag(os.fstat(file.fileno())) != blob.own_etag:
                    raise BlobChanged(f"{blob.name} was overwritten after it was listed.")
                return os.pread(file.fileno(), length, offset)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise BlobMissing(f"{blob.name} is gone since it was listed.") from error
        except OSError as error:
            raise StorageUnavailable(
                f"{blob.name} cannot be read: {error.strerror}.", remedy="Check the file's permissions and the disk."
            ) from error

    def write_file(self, name: str, path: Path, *, content_type: str) -> None:  # noqa: ARG002  a file has no type
        """Copy the file at ``path`` beside ``name`` and rename it, on disk before it is seen.

        What a process that was killed left of a copy has one name, and is overwritten by the next, or removed with it.
        """
        target = self._path(name)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with _own_copy(_copy_of(target)) as copy:
                with path.open("rb") as file:
                    shutil.copyfileobj(file, copy)
                copy.flush()
                os.fchmod(copy.fileno(), 0o644)
                os.fsync(copy.fileno())
                _copy_of(target).replace(target)
        except OSError as error:
            raise StorageUnavailable(
                f"{target} cannot be written: {error.strerror}.", remedy="Check the folder's permissions and the disk."
            ) from error

    def remove_file(self, name: str) -> None:
        """Delete the file, where it is there, and what is there of a copy that was to replace it."""
        target = self._path(name)
        try:
            for path in (target, _copy_of(target)):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageUnavailable(
                f"{name} cannot be deleted: {error.strerror}.", remedy="Check the folder's permissions."
            ) from error

    def read_sidecar(self, name: str, most: int) -> bytes | None:
        """The first ``most`` bytes of a file below the folder; None too where it is a link that leads out of it."""
        try:
            path = self._path(name).resolve(strict=True)
            if not path.is_relative_to(self._folder.resolve()) or not path.is_file():
                return None
            with path.open("rb") as file:
                return file.read(most)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, RuntimeError) as error:
            raise StorageUnavailable(
                f"{name} cannot be read: {error}.", remedy="Check the file's permissions and the disk."
            ) from error

    def href(self, name: str) -> str:
        """The file's file:// URL."""
        return self._path(name).as_uri()

    def _path(self, name: str) -> Path:
        """Where the blob lies; what `_walk` had to escape in a name that is no UTF-8 becomes its bytes again."""
        path = self._folder / name
        if "\\x" not in name or path.exists():
            return path
        original = re.sub(rb"\\x([0-9a-f]{2})", lambda match: bytes.fromhex(match[1].decode()), name.encode())
        return self._folder / os.fsdecode(original)

    def _check_folder(self) -> None:
        if not self._folder.is_dir():
            raise InvalidConfiguration(
                f"{self._folder} is not a folder.", remedy="Create it, or correct `url` of the source in sources.yaml."
            )

    def _walk(self, folder: Path, path: str, *, prefix: str, after: str) -> Iterator[BlobRef]:
        """Files by name that start with ``prefix`` and come after ``after``; other folders are not looked into."""
        for name, entry in self._entries(folder, path):
            if name.endswith("/"):
                leads_there = name.startswith(prefix) or prefix.startswith(name)
                if leads_there and (name > after or after.startswith(name)):
                    yield from self._walk(Path(entry.path), name, prefix=prefix, after=after)
            elif name.startswith(prefix) and name > after and self._is_own_file(entry) and (blob := _blob(entry, name)):
                yield blob

    def _entries(self, folder: Path, path: str) -> list[tuple[str, "os.DirEntry[str]"]]:
        """What lies in a folder, in the order of the names below it; one that cannot be read fails the listing."""
        try:
            with os.scandir(folder) as found:
                entries = list(found)
        except OSError as error:
            raise StorageUnavailable(
                f"{folder} cannot be listed: {error.strerror}.", remedy="Check the folder's permissions and the disk."
            ) from error
        return sorted(((_name(entry, path), entry) for entry in entries), key=lambda named: named[0])

    def _is_own_file(self, entry: "os.DirEntry[str]") -> bool:
        if not entry.is_symlink():
            return entry.is_file(follow_symlinks=False)
        try:
            target = Path(entry.path).resolve(strict=True)
        except (OSError, RuntimeError):  # it leads nowhere, or to itself
            return False
        return target.is_file() and target.is_relative_to(self._folder.resolve())


def _copy_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


@contextmanager
def _own_copy(path: Path) -> Iterator[IO[bytes]]:
    """The empty file at ``path``, which no other process writes meanwhile; gone where the block fails."""
    while True:
        with path.open("ab") as copy:
            fcntl.flock(copy, fcntl.LOCK_EX)
            if not _is_at(copy, path):  # who had it before has renamed it
                continue
            copy.truncate(0)
            try:
                yield copy
            except BaseException:
                path.unlink(missing_ok=True)
                raise
            return


def _is_at(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _name(entry: "os.DirEntry[str]", path: str) -> str:
    name = path + os.fsencode(entry.name).decode("utf-8", "backslashreplace")
    return f"{name}/" if entry.is_dir(follow_symlinks=False) else name


def _blob(entry: "os.DirEntry[str]", name: str) -> BlobRef | None:
    try:
        stat = Path(entry.path).stat()
    except FileNotFoundError:  # deleted while the folder was listed
        return None
    return BlobRef(
        name=name,
        etag=_etag(stat),
        size_bytes=stat.st_size,
        last_modified=datetime.fromtimestamp(stat.st_mtime, UTC),
    )


def _etag(stat: os.stat_result) -> str:
    return f"{stat.st_mtime_ns:x}-{stat.st_size:x}-{stat.st_ino:x}"
