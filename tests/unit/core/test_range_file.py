"""A range file is the blob's bytes, however it is read."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo_assets.errors import BlobChanged, GeoAssetsError, TooLarge
from geo_assets.raster.io import BLOCK_BYTES, RangeFile

CONTENT = bytes(number * 7 % 251 for number in range(3 * BLOCK_BYTES + 1234))
WHENCES = (io.SEEK_SET, io.SEEK_CUR, io.SEEK_END)
OFFSETS = st.integers(-len(CONTENT) - 10, len(CONTENT) + 10) | st.sampled_from(
    [0, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, len(CONTENT) - 1, len(CONTENT)]
)
SIZES = st.sampled_from([-1, 0, 1, 2, 16, BLOCK_BYTES, BLOCK_BYTES + 1]) | st.integers(-1, 2 * BLOCK_BYTES)
READS = st.lists(st.tuples(st.sampled_from(WHENCES), OFFSETS, SIZES), max_size=30)


class Blob:
    """Bytes that are read by range, and a note of each request."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.requests: list[tuple[int, int]] = []

    def read_range(self, offset: int, length: int) -> bytes:
        """What a store does: fewer bytes only at the end."""
        self.requests.append((offset, length))
        return self.content[offset : offset + length]

    def open(self, *, budget_bytes: int = 10**9) -> RangeFile:
        """The blob as a file."""
        return RangeFile(self.read_range, name="a.tif", size_bytes=len(self.content), budget_bytes=budget_bytes)


@given(READS)
def test_it_reads_as_the_bytes_themselves_do(reads: list[tuple[int, int, int]]) -> None:
    blob = Blob(CONTENT)
    with blob.open() as file:
        plain = io.BytesIO(CONTENT)
        for whence, offset, size in reads:
            target = {io.SEEK_SET: 0, io.SEEK_CUR: plain.tell(), io.SEEK_END: len(CONTENT)}[whence] + offset
            plain.seek(max(0, target))
            assert file.seek(offset, whence) == file.tell() == plain.tell()
            assert file.read(size) == plain.read(size)
            assert file.tell() == plain.tell()
        fetched = {position for offset, length in blob.requests for position in range(offset, offset + length)}
        assert max(fetched, default=-1) < len(CONTENT)
        assert file.bytes_read == sum(length for _, length in blob.requests)


@given(st.integers(0, 2 * BLOCK_BYTES))
def test_the_whole_is_read_at_once(size: int) -> None:
    blob = Blob(CONTENT[:size])
    with blob.open() as file:
        assert file.read() == blob.content
        assert file.read() == b""
    assert len(blob.requests) == (1 if size else 0)


def test_a_small_file_takes_one_request_however_it_is_read() -> None:
    blob = Blob(CONTENT[:5000])
    with blob.open() as file:
        for offset in (0, 4000, 17, 4999, 5000, 6000):
            file.seek(offset)
            assert file.read(100) == blob.content[offset : offset + 100]
    assert blob.requests == [(0, 5000)]


def test_a_read_over_several_blocks_is_one_request() -> None:
    blob = Blob(CONTENT)
    with blob.open() as file:
        file.seek(10)
        file.read(2 * BLOCK_BYTES)
    assert blob.requests == [(0, 3 * BLOCK_BYTES)]


def test_what_lies_far_away_is_fetched_alone() -> None:
    blob = Blob(CONTENT)
    with blob.open() as file:
        file.read(8)
        file.seek(-8, io.SEEK_END)
        assert file.read() == CONTENT[-8:]
        assert file.bytes_read == BLOCK_BYTES + 1234
    assert blob.requests == [(0, BLOCK_BYTES), (3 * BLOCK_BYTES, 1234)]


def test_an_empty_blob_asks_for_nothing() -> None:
    blob = Blob(b"")
    with blob.open() as file:
        assert file.read(10) == b""
    assert blob.requests == []


def test_more_than_the_budget_is_refused_before_it_is_fetched() -> None:
    blob = Blob(CONTENT)
    with blob.open(budget_bytes=2 * BLOCK_BYTES) as file:
        file.read(2 * BLOCK_BYTES)
        with pytest.raises(TooLarge, match=r"a\.tif: reading it takes more than the 131,072 bytes allowed"):
            file.read(1)
        file.seek(0)
        assert file.read(4) == CONTENT[:4], "what was fetched stays readable"
    assert blob.requests == [(0, 2 * BLOCK_BYTES)]


def test_a_short_answer_is_an_error_and_no_end_of_file() -> None:
    with RangeFile(lambda _, length: bytes(length - 1), name="a.tif", size_bytes=100) as file:
        with pytest.raises(GeoAssetsError, match=r"a\.tif: 99 bytes at 0 where 100 were asked for"):
            file.read(4)
        assert file.bytes_read == 0


def test_what_the_store_raises_comes_out_unchanged() -> None:
    error = BlobChanged("a.tif was overwritten")

    def fail(offset: int, length: int) -> bytes:
        raise error

    with RangeFile(fail, name="a.tif", size_bytes=100) as file, pytest.raises(BlobChanged) as caught:
        file.read(4)
    assert caught.value is error


def test_it_is_a_binary_file_that_can_be_read_and_sought_only() -> None:
    with Blob(CONTENT).open() as file:
        assert file.readable()
        assert file.seekable()
        assert not file.writable()
    assert file.closed


@pytest.mark.parametrize(
    ("size", "fetched"),
    [
        (0, []),
        (1, [1]),
        (BLOCK_BYTES + 1, [BLOCK_BYTES + 1]),
        (2 * BLOCK_BYTES, [2 * BLOCK_BYTES]),
        (2 * BLOCK_BYTES + 1, [BLOCK_BYTES]),
    ],
)
def test_a_small_file_is_fetched_whole_and_the_first_block_of_others(size: int, fetched: list[int]) -> None:
    blob = Blob(CONTENT[:size])
    with blob.open() as file:
        file.fetch_start()
        file.fetch_start()
    assert blob.requests == [(0, length) for length in fetched]
