"""One version of a vector file on this machine's disk, with the files that belong to it, for as long as it is read.

Here: room for it, its bytes under If-Match, and that the parts of a shapefile are those which were listed. Not here:
unpacking (`vectors.archive`) and reading (`vectors.reading`).
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from geo_assets.errors import BlobChanged, ScratchFull
from geo_assets.models import BlobRef
from geo_assets.storage.blob_store import BlobStore
from geo_assets.storage.scratch import filling
from geo_assets.storage.sidecars import placing_names, with_sidecars
from geo_assets.storage.transfers import download

ROOM_TO_SPARE = 64 * 1024**2
SHAPEFILE = ".shp"
MOST_STEM_BYTES = 180


@contextmanager
def downloaded(store: BlobStore, blob: BlobRef, *, scratch: Path) -> Iterator[Path]:
    """The path of the file below ``scratch`` that holds this version of ``blob``, for as long as the block.

    Raises ScratchFull, and what `BlobStore.read_range` raises.
    """
    with filling(scratch), tempfile.TemporaryDirectory(dir=scratch) as name:
        folder = Path(name)
        wanted = [blob, *_parts(store, blob)]
        check_room(folder, sum(each.size_bytes for each in wanted))
        for each in wanted:
            download(store, each, folder / _local_name(each.name))
        yield folder / _local_name(blob.name)


def _local_name(name: str) -> str:
    """What the file is called here: blobs may have longer names than files, and the parts of a shapefile one stem."""
    path = PurePosixPath(name)
    stem = path.stem.encode()
    if path.name in ("", ".."):
        return "file"
    if len(stem) <= MOST_STEM_BYTES:
        return path.name
    return f"{stem[:MOST_STEM_BYTES].decode('utf-8', 'ignore')}{path.suffix[:32]}"


def check_room(folder: Path, size_bytes: int) -> None:
    """Raise ScratchFull unless ``size_bytes`` and something to spare fit on the folder's disk."""
    free = shutil.disk_usage(folder).free
    if free < size_bytes + ROOM_TO_SPARE:
        raise ScratchFull(f"{size_bytes:,} bytes are needed in {folder}, and {free:,} are free.")


def _parts(store: BlobStore, blob: BlobRef) -> list[BlobRef]:
    """The blobs that belong to a shapefile; raises BlobChanged where they are not those that were listed."""
    if not blob.name.lower().endswith(SHAPEFILE):
        return []
    found = [part for name in placing_names(blob.name) if (part := store.head(name)) is not None]
    own = BlobRef(blob.name, blob.own_etag, blob.size_bytes, blob.last_modified)
    (seen,) = with_sidecars([own], {part.name: part.etag for part in found})
    if seen.etag != blob.etag:
        raise BlobChanged(f"Parts of {blob.name} were overwritten after it was listed.")
    return found
