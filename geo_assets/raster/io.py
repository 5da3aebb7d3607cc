"""A blob as a seekable file: only ranges that are read are fetched, and GDAL gets no exception and no byte too many.

Here: caching, the byte budget, and the bridge to GDAL, which calls back into Python from C and drops any exception: a
store that does not answer would be "corrupt TIFF", so the exception is kept and raised again by whoever called GDAL.
Not here: how a range is fetched; the caller passes that in.
"""

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

from geo_assets.errors import GeoAssetsError, TooLarge


@dataclass(slots=True)
class _Shared:
    """What all handles on one file have in common."""

    file: BinaryIO
    size_bytes: int
    bytes_read: int = 0
    error: BaseException | None = None


class GuardedFile(io.RawIOBase, BinaryIO):
    """A handle on ``file`` with a position of its own; the first error of any handle is kept for `raise_error`.

    After an error every read gives no bytes, so that GDAL gives up soon.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._shared: _Shared = (
            file._shared if isinstance(file, GuardedFile) else _Shared(file, file.seek(0, os.SEEK_END))
        )
        self._position = 0

    def another(self) -> "GuardedFile":
        """One more handle on the same file: GDAL wants each of its opens to have its own position."""
        return GuardedFile(self)

    @property
    def bytes_read(self) -> int:
        """How many bytes all handles together gave out."""
        return self._shared.bytes_read

    def raise_error(self) -> None:
        """Raise what the underlying file raised, if it did."""
        if self._shared.error is not None:
            raise self._shared.error

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes; none at the end of the file and after an error."""
        left = self._shared.size_bytes - self._position
        wanted = left if size < 0 else min(size, left)
        if wanted <= 0 or self._shared.error is not None:
            return b""
        try:
            self._shared.file.seek(self._position)
            data = self._shared.file.read(wanted)[:wanted]
        except BaseException as error:  # noqa: BLE001 (raised again by raise_error: it must not pass through C)
            self._shared.error = error
            return b""
        self._position += len(data)
        self._shared.bytes_read += len(data)
        return data

    def readinto(self, buffer: Any, /) -> int:
        """Fill ``buffer`` as far as `read` goes; how many bytes that was. HDF5 reads so."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move, also past the end; the new position."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._shared.size_bytes}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True


BLOCK_BYTES = 64 * 1024
HEADER_BUDGET_BYTES = 32 * 1024 * 1024

MOST_BLOCKS_AHEAD = 32

SMALL_FILE_BLOCKS = 2
"""A file of no more blocks is fetched whole: a second request would cost more than the bytes."""

ReadRange = Callable[[int, int], bytes]
"""(offset, length) -> the bytes there, fewer only at the end of the blob."""


class RangeFile(io.RawIOBase, BinaryIO):
    """A read-only file over ``read_range``, in cached blocks of 64 KiB.

    Reading more than ``budget_bytes`` raises TooLarge; what ``read_range`` raises comes out unchanged.
    """

    def __init__(
        self, read_range: ReadRange, *, name: str, size_bytes: int, budget_bytes: int = HEADER_BUDGET_BYTES
    ) -> None:
        super().__init__()
        self._read_range = read_range
        self._name = name
        self._size = size_bytes
        self._budget = budget_bytes
        self._blocks: dict[int, bytes] = {}
        self._position = 0
        self._ahead = 1
        self._next_block = -1
        self.bytes_read = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The current offset in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to an offset in bytes; past the end is allowed, as in any file."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        """Up to ``size`` bytes from the current offset; empty at the end."""
        wanted = self._size if size < 0 else size
        end = min(self._position + wanted, self._size)
        if self._position >= end:
            return b""
        index, begin = divmod(self._position, BLOCK_BYTES)
        block = self._blocks.get(index)
        if block is not None and begin + end - self._position <= len(block):
            data = block[begin : begin + end - self._position]
        else:
            data = self._bytes(self._position, end)
        self._position += len(data)
        return data

    def fetch_start(self) -> None:
        """Fetch the first block now, which for most files holds the whole header; a small file whole."""
        if self._size and 0 not in self._blocks:
            last = (self._size - 1) // BLOCK_BYTES
            self._fetch(0, last if last < SMALL_FILE_BLOCKS else 0)

    def _bytes(self, start: int, end: int) -> bytes:
        first, last = start // BLOCK_BYTES, (end - 1) // BLOCK_BYTES
        missing = [index for index in range(first, last + 1) if index not in self._blocks]
        if missing:
            self._fetch(missing[0], missing[-1])
        joined = b"".join(self._blocks[index] for index in range(first, last + 1))
        offset = first * BLOCK_BYTES
        return joined[start - offset : end - offset]

    def _fetch(self, first: int, last: int) -> None:
        """One request for the blocks ``first`` to ``last``; a short answer is an error, not an end.

        A reader that goes on where the last request ended gets twice as much each time.
        """
        self._ahead = min(2 * self._ahead, MOST_BLOCKS_AHEAD) if first == self._next_block else 1
        last = max(last, min(first + self._ahead - 1, (self._size - 1) // BLOCK_BYTES))
        self._next_block = last + 1
        offset = first * BLOCK_BYTES
        length = min((last + 1) * BLOCK_BYTES, self._size) - offset
        if self.bytes_read + length > self._budget:
            raise TooLarge(f"{self._name}: reading it takes more than the {self._budget:,} bytes allowed.")
        data = self._read_range(offset, length)
        if len(data) != length:
            raise GeoAssetsError(f"{self._name}: {len(data)} bytes at {offset} where {length} were asked for.")
        self.bytes_read += length
        for index in range(first, last + 1):
            begin = (index - first) * BLOCK_BYTES
            self._blocks[index] = data[begin : begin + BLOCK_BYTES]
