"""What only a folder has: links, files that are no blobs, names that are no text."""

import os
from pathlib import Path

import pytest

from geo_assets.errors import BlobChanged, BlobMissing
from geo_assets.storage.local_blob_store import LocalBlobStore


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "container"
    (folder / "x").mkdir(parents=True)
    (folder / "x" / "a.tif").write_bytes(b"inside")
    return folder


def names(folder: Path) -> list[str]:
    return [blob.name for page in LocalBlobStore(folder).list_pages("") for blob in page]


def test_a_link_out_of_the_folder_is_not_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.tif").write_bytes(b"outside")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.tif").write_bytes(b"outside")
    (folder / "link.tif").symlink_to(tmp_path / "secret.tif")
    (folder / "relative.tif").symlink_to("../secret.tif")
    (folder / "elsewhere").symlink_to(tmp_path / "elsewhere")
    (folder / "twice.tif").symlink_to("link.tif")
    assert names(folder) == ["x/a.tif"]


def test_a_link_to_a_file_inside_is_a_blob_of_its_own(folder: Path) -> None:
    (folder / "link.tif").symlink_to("x/a.tif")
    assert names(folder) == ["link.tif", "x/a.tif"]


def test_a_link_to_nowhere_or_to_itself_is_no_blob(folder: Path) -> None:
    (folder / "dangling.tif").symlink_to("nosuch.tif")
    (folder / "loop.tif").symlink_to("loop.tif")
    (folder / "x" / "up").symlink_to("..")
    assert names(folder) == ["x/a.tif"]


def test_a_file_swapped_for_a_link_out_of_the_folder_is_not_read(folder: Path, tmp_path: Path) -> None:
    store = LocalBlobStore(folder)
    ((blob,),) = store.list_pages("")
    (tmp_path / "secret.tif").write_bytes(b"secret")
    (folder / "x" / "a.tif").unlink()
    (folder / "x" / "a.tif").symlink_to(tmp_path / "secret.tif")
    with pytest.raises(BlobChanged, match=r"x/a\.tif"):
        store.read_range(blob, 0, 6)


def test_a_pipe_is_no_blob(folder: Path) -> None:
    os.mkfifo(folder / "pipe.tif")
    assert names(folder) == ["x/a.tif"]


def test_a_folder_called_like_a_raster_is_a_folder(folder: Path) -> None:
    (folder / "scene.tif").mkdir()
    (folder / "scene.tif" / "b.tif").write_bytes(b"inside")
    assert names(folder) == ["scene.tif/b.tif", "x/a.tif"]


@pytest.mark.parametrize("instead", ["a file", "a folder"])
def test_a_path_that_became_something_else_is_missing(folder: Path, instead: str) -> None:
    store = LocalBlobStore(folder)
    ((blob,),) = store.list_pages("")
    (folder / "x" / "a.tif").unlink()
    if instead == "a file":
        (folder / "x").rmdir()
        (folder / "x").write_bytes(b"no folder any more")
    else:
        (folder / "x" / "a.tif").mkdir()
    with pytest.raises(BlobMissing, match=r"x/a\.tif"):
        store.read_range(blob, 0, 6)


def test_a_name_that_is_no_utf_8_is_listed_read_and_addressed(folder: Path) -> None:
    with open(os.fsencode(folder) + b"/caf\xe9.tif", "wb") as file:
        file.write(b"latin")
    store = LocalBlobStore(folder)
    ((blob, _),) = store.list_pages("")
    assert blob.name == r"caf\xe9.tif"
    assert store.read_range(blob, 0, 5) == b"latin"
    assert store.href(blob.name).endswith("/caf%E9.tif")


def test_a_name_with_backslashes_is_taken_as_it_is(folder: Path) -> None:
    (folder / r"caf\xe9.tif").write_bytes(b"text!")
    store = LocalBlobStore(folder)
    ((blob, _),) = store.list_pages("")
    assert store.read_range(blob, 0, 5) == b"text!"


def test_a_sidecar_that_is_a_link_out_of_the_folder_is_none(tmp_path: Path) -> None:
    secret = tmp_path / "secret.pgw"
    secret.write_bytes(b"1 0 0 -1 0 0")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.pgw").symlink_to(secret)
    (folder / "b.pgw").write_bytes(b"2 0 0 -2 0 0")
    (folder / "c.pgw").symlink_to(folder / "b.pgw")
    store = LocalBlobStore(folder)
    assert store.read_sidecar("a.pgw", 99) is None
    assert store.read_sidecar("../secret.pgw", 99) is None
    assert store.read_sidecar("c.pgw", 99) == b"2 0 0 -2 0 0"
