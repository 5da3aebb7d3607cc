"""Layers handed from one process to another: read while they grow, to the end or not at all, and not on trust."""

import errno
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from geo_assets.errors import ScratchFull
from geo_assets.vectors.datasets import unpack
from geo_assets.vectors.errors import UnreadableVector, UnsafeArchive
from geo_assets.vectors.handover import Handover, LayerDescription, ReadingFailed
from tests.vectors import zip_folder

pytestmark = pytest.mark.attack

LAYER = LayerDescription(
    file="a.gpkg", name="a", driver="GPKG", geometry_type="Point", crs="EPSG:4326", geometry="geom", fid="fid"
)
SCHEMA = pa.schema([("fid", pa.int64()), ("geom", pa.binary())])


def batch(number: int) -> pa.RecordBatch:
    """One row."""
    return pa.record_batch([pa.array([number]), pa.array([b"x"], pa.binary())], schema=SCHEMA)


def test_batches_are_read_while_they_are_written(tmp_path: Path) -> None:
    handover, read = Handover(tmp_path), threading.Semaphore(0)

    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(3):
            yield batch(number)
            assert read.acquire(timeout=10)

    def write() -> None:
        handover.describe([LAYER])
        handover.write(0, SCHEMA, batches())
        handover.end(failed=False)

    writer = threading.Thread(target=write)
    writer.start()
    (layer,) = handover.layers(assume_crs=None)
    numbers = []
    with layer.open() as (schema, found):
        assert [each.name for each in layer.attributes(schema)] == []
        for each in found:
            numbers += each.column(0).to_pylist()
            read.release()
    handover.wait_for_end()
    writer.join()
    assert numbers == [0, 1, 2]


def test_a_file_that_was_not_read_to_its_end_is_not_loaded(tmp_path: Path) -> None:
    handover = Handover(tmp_path)
    handover.describe([LAYER])
    handover.write(0, SCHEMA, iter([batch(0), batch(1)]))
    path = tmp_path / "0.arrows"
    path.write_bytes(path.read_bytes()[:-60])
    handover.end(failed=True)
    (layer,) = handover.layers(assume_crs=None)
    with layer.open() as (_, found), pytest.raises(ReadingFailed):
        list(found)
    with pytest.raises(ReadingFailed):
        handover.wait_for_end()
    (tmp_path / "layers.json").unlink()
    with pytest.raises(ReadingFailed):
        handover.layers(assume_crs=None)


@pytest.mark.parametrize(
    "change", [{"crs": "+proj=longlat +nadgrids=/etc/passwd"}, {"geometry": "other"}, {"fid": "x"}]
)
def test_what_the_reading_process_says_is_checked(tmp_path: Path, change: dict[str, str]) -> None:
    handover = Handover(tmp_path)
    handover.describe([LAYER.model_copy(update=change)])
    handover.write(0, SCHEMA, iter([batch(0)]))
    handover.end(failed=False)
    with pytest.raises(UnreadableVector), handover.layers(assume_crs=None)[0].open():
        pass


def test_a_stream_of_something_else_or_a_link_is_refused(tmp_path: Path) -> None:
    handover = Handover(tmp_path)
    handover.describe([LAYER])
    (tmp_path / "0.arrows").write_bytes(b"no stream of Arrow's" * 10)
    handover.end(failed=False)
    (layer,) = handover.layers(assume_crs=None)
    with pytest.raises(UnreadableVector), layer.open():
        pass
    (tmp_path / "0.arrows").unlink()
    (tmp_path / "0.arrows").symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="symbolic"), layer.open():
        pass


@pytest.mark.parametrize(
    ("number", "expected"),
    [(errno.ENOSPC, ScratchFull), (errno.ENAMETOOLONG, UnsafeArchive), (errno.EISDIR, UnsafeArchive)],
)
def test_a_full_disk_is_no_fault_of_an_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[Exception]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "refused")

    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.geojson").write_text("{}")
    archive = zip_folder(tmp_path / "a.zip", tmp_path / "in")
    monkeypatch.setattr("geo_assets.vectors.datasets.shutil.copyfileobj", refuse)
    with pytest.raises(expected):
        unpack(archive, tmp_path)
