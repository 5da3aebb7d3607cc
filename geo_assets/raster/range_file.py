"""A blob as a seekable file that fetches only the ranges somebody reads.

Here: caching and the byte budget. Not here: how a range is fetched; the caller passes that in.
"""

import io
from collections.abc import Callable
from typing import BinaryIO

from geo_assets.errors import GeoAssetsError, TooLarge

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
