"""A folder as a blob store: what the first run and the tests of the pipeline need no cloud for."""

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from geo_assets.errors import BlobChanged, BlobMissing, InvalidConfiguration, StorageUnavailable
from geo_assets.models import BlobRef

PAGE_SIZE = 1000


class LocalBlobStore:
    """The files below ``folder``; links that lead out of it are not followed.

    The etag is made of modification time, size and inode: a file overwritten in place or replaced
    gets another one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def list_pages(self, prefix: str) -> Iterator[Sequence[BlobRef]]:
        """Every file below the folder whose path starts with ``prefix``, in pages of 1,000."""
        if not self._folder.is_dir():
            raise InvalidConfiguration(
                f"{self._folder} is not a folder.", remedy="Create it, or mend the source's url in sources.yaml."
            )
        page: list[BlobRef] = []
        for blob in self._walk(self._folder, ""):
            if blob.name.startswith(prefix):
                page.append(blob)
            if len(page) == PAGE_SIZE:
                yield page
                page = []
        yield page

    def read_range(self, blob: BlobRef, offset: int, length: int) -> bytes:
        """``length`` bytes at ``offset``, after checking that the open file still has the blob's etag."""
        try:
            with (self._folder / blob.name).open("rb", buffering=0) as file:
                if _etag(os.fstat(file.fileno())) != blob.etag:
                    raise BlobChanged(f"{blob.name} was overwritten after it was listed.")
                return os.pread(file.fileno(), length, offset)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise BlobMissing(f"{blob.name} is gone since it was listed.") from error
        except OSError as error:
            raise StorageUnavailable(
                f"{blob.name} cannot be read: {error.strerror}.", remedy="Check the file's permissions and the disk."
            ) from error

    def href(self, name: str) -> str:
        """The file's file:// URL."""
        return (self._folder / name).as_uri()

    def _walk(self, folder: Path, path: str) -> Iterator[BlobRef]:
        """Files depth first in name order; a folder that cannot be read fails the listing."""
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            raise StorageUnavailable(
                f"{folder} cannot be listed: {error.strerror}.", remedy="Check the folder's permissions and the disk."
            ) from error
        for entry in entries:
            name = path + os.fsencode(entry.name).decode("utf-8", "backslashreplace")
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(Path(entry.path), f"{name}/")
            elif self._is_own_file(entry) and (blob := _blob(entry, name)):
                yield blob

    def _is_own_file(self, entry: "os.DirEntry[str]") -> bool:
        if not entry.is_symlink():
            return entry.is_file(follow_symlinks=False)
        target = Path(entry.path).resolve()
        return target.is_file() and target.is_relative_to(self._folder.resolve())


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
