"""Why work on one file failed, whatever it raised: the boundary that no error of one file passes.

Here: an exception as the reason of one file, and which reasons are no file's own. Not here: who asks, which is the
engine of the stages (`geo_assets.assets.engine`) and a worker, for each file it is handed.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from geo_assets.display import one_line
from geo_assets.errors import (
    DatabaseUnavailable,
    DiskFull,
    GeoAssetsError,
    TooLarge,
    Unauthorized,
    Unforeseen,
    WorkersUnavailable,
)
from geo_assets.file_errors import write_error

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
