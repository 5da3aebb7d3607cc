"""A file that GDAL may read: it never raises into GDAL, and never gives more than was asked for.

Here: that one bridge. GDAL calls back into Python from C and drops any exception, which would turn a store
that does not answer into "corrupt TIFF"; so the exception is kept and raised again by whoever called GDAL.
Not here: fetching bytes.
"""

import io
import os
from dataclasses import dataclass
from typing import Any, BinaryIO


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
        """One more handle on the same file: GDAL wants each of its opens to seek by itself."""
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
