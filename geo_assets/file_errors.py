"""What the operating system says where a file of ours cannot be written, as an error with its own remedy.

Here: that translation, for every place that writes a file the caller named. Not here: scratch space, which a setting
names (`geo_assets.storage.scratch`), and files that are read.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from geo_assets.errors import DiskFull, FolderNotWritable, GeoAssetsError

DISK_IS_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""No room on the disk, none in the user's quota, or none below the limit of the process."""
_REFUSED = frozenset(
    {
        errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP,
        errno.ENAMETOOLONG, errno.EIO,
    }
)  # fmt: skip


@contextmanager
def writing(target: Path | str) -> Iterator[None]:
    """Raise DiskFull or FolderNotWritable for what refuses the block, which writes ``target``.

    The block should do little else: a file it cannot read would be reported as one it cannot write.
    """
    try:
        yield
    except OSError as error:
        if (ours := write_error(target, error)) is None:
            raise
        raise ours from error


def write_error(target: Path | str, error: OSError) -> GeoAssetsError | None:
    """``error`` of writing ``target`` as one of ours; None where it says neither that a disk is full nor a refusal."""
    said = f"{target} cannot be written: {error.strerror}."
    if error.errno in DISK_IS_FULL:
        return DiskFull(said)
    return FolderNotWritable(said) if error.errno in _REFUSED else None
