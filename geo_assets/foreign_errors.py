"""What others raise, as one of our errors: any exception of work on one file, and a file that cannot be written.

Here: an exception as the reason of one file (the boundary that no error of one file passes) and which reasons are no
file's own; what the operating system says where a file that the caller named cannot be written. Not here: who asks,
which is the engine of the stages (`geo_assets.assets.engine`) and a worker, for each file it is handed; scratch space,
which a setting names (`geo_assets.storage.scratch`); the errors of one library, translated where it is called.
"""

import errno
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from geo_assets.display import one_line
from geo_assets.errors import (
    DatabaseUnavailable,
    DiskFull,
    FolderNotWritable,
    GeoAssetsError,
    TooLarge,
    Unauthorized,
    Unforeseen,
    WorkersUnavailable,
)

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


_FAULTS = (DatabaseUnavailable, DiskFull, Unauthorized, WorkersUnavailable)
"""What stops all work: the next file would meet it too. StorageUnavailable does so after some in a row."""
_OURS = Path(__file__).resolve().parent
_MOST_SAID = 300


def reason_of(error: Exception) -> GeoAssetsError:
    """The reason of the file that work raised ``error`` on: itself where it is ours, else Unforeseen or its like."""
    if isinstance(error, GeoAssetsError):
        return error
    if isinstance(error, MemoryError):
        return TooLarge("Working on it takes more memory than is allowed.")
    if isinstance(error, OSError) and isinstance(full := write_error(error.filename or "A file", error), DiskFull):
        return full
    said = one_line((str(error).strip() or "no message").splitlines()[-1], most=_MOST_SAID).rstrip(".")
    return Unforeseen(f"Working on it raised {type(error).__name__}: {said} ({_place(error)}).")


@contextmanager
def as_reason() -> Iterator[None]:
    """Raise a file's reason for whatever the block raises, which works on that file; memory that is out stays so."""
    try:
        yield
    except (GeoAssetsError, MemoryError):
        raise
    except Exception as error:
        raise reason_of(error) from error


def stops_the_batch(error: Exception) -> bool:
    """Whether the database, the disk, the memory of this process or our credential is at fault, and no file."""
    return isinstance(error, MemoryError) or isinstance(reason_of(error), _FAULTS)


def _place(error: Exception) -> str:
    """Our file and line that the error passed last."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(_OURS)]
    if not ours:
        return "outside geo_assets"
    return f"{Path(ours[-1].filename).relative_to(_OURS.parent).as_posix()}, line {ours[-1].lineno}"
