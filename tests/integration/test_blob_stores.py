"""One contract for every blob store: a folder and a container behave alike."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from azure.storage.blob import ContainerClient

from geo_assets.errors import BlobChanged, BlobMissing, InvalidConfiguration
from geo_assets.models import SIDECARS_MARK, BlobRef
from geo_assets.resources.stores import BlobStores
from geo_assets.sources.source import CollectionRule, Source
from geo_assets.storage import azure_blob_store, local_blob_store
from geo_assets.storage.blob_store import BlobStore
from geo_assets.storage.container_look import group_names, look_at
from geo_assets.storage.listing import SourceListing
from tests.services import AZURITE_KEY, Azurite

CONTENT = bytes(range(256)) * 10
NAMES = [
    "plain.tif",
    "a b.tif",
    " leading.tif",
    "größe/日本 🛰.tif",
    "e\u0301 decomposed.tif",
    "a#b.tif",
    "a?b=c&d.tif",
    "a+b.tif",
    "a%2Fb.tif",
    "a%20b.tif",
    "100%.tif",
    "[x]{y}(z).tif",
    "quote'\".tif",
    "a;b,c=d@e:f!$.tif",
    "~tilde/.hidden/-dash.tif",
    "two..dots...tif",
    "<a>|b^c`d*.tif",
    "tab\tline\nend.tif",
    "x" * 200 + ".tif",
]


def source_at(url: str) -> Source:
    return Source(name="s", url=url, collection=CollectionRule(id="c", description="d"))


@dataclass
class Place:
    """A store and, past it, the means to change what lies in it."""

    store: BlobStore
    put: Callable[[str, bytes], None]
    delete: Callable[[str], None]

    def names(self, prefix: str = "") -> list[str]:
        """The names below a prefix, as the store lists them."""
        return [blob.name for page in self.store.list_pages(prefix) for blob in page]

    def blob(self, name: str) -> BlobRef:
        """The blob called ``name``, as the store lists it."""
        (found,) = [blob for page in self.store.list_pages(name) for blob in page if blob.name == name]
        return found


@pytest.fixture(params=["folder", "azurite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """An empty place of each kind, opened as a source opens it."""
    with ExitStack() as stack:
        if request.param == "folder":
            folder = tmp_path / "con tainer"
            folder.mkdir()
            store = stack.enter_context(BlobStores().open(source_at(folder.as_uri())))
            yield Place(store, lambda name, content: put_file(folder / name, content), lambda n: (folder / n).unlink())
        else:
            container: ContainerClient = request.getfixturevalue("container")
            service: Azurite = request.getfixturevalue("azurite")
            monkeypatch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
            monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", service.connection_string)
            store = stack.enter_context(BlobStores().open(source_at(f"az://{container.container_name}")))
            yield Place(
                store,
                lambda name, content: (container.upload_blob(name, content, overwrite=True), None)[1],
                lambda name: container.delete_blob(name),
            )


def put_file(path: Path, content: bytes) -> None:
    """Write a file, with a later modification time than before even on a coarse clock."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    later = max(path.stat().st_mtime_ns, before + 1_000_000)
    os.utime(path, ns=(later, later))


def test_an_empty_place_lists_nothing_and_does_not_fail(place: Place) -> None:
    assert place.names() == []


def test_every_blob_below_a_prefix_is_listed_once(place: Place) -> None:
    for name in ("a.tif", "x/a.tif", "x/y/a.tif", "x/y/b.txt", "xy.tif"):
        place.put(name, CONTENT)
    assert sorted(place.names()) == ["a.tif", "x/a.tif", "x/y/a.tif", "x/y/b.txt", "xy.tif"]
    assert sorted(place.names("x/")) == ["x/a.tif", "x/y/a.tif", "x/y/b.txt"]
    assert place.names("x/y/b") == ["x/y/b.txt"]
    assert place.names("nosuch/") == []


def test_a_long_listing_comes_in_pages_and_misses_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(azure_blob_store, "PAGE_SIZE", 4)
    monkeypatch.setattr(local_blob_store, "PAGE_SIZE", 4)
    names = [f"{number % 3}/scene_{number}.tif" for number in range(17)]
    for name in names:
        place.put(name, b"x")
    pages = [[blob.name for blob in page] for page in place.store.list_pages("")]
    assert [len(page) for page in pages] == [4, 4, 4, 4, 1]
    assert sorted(name for page in pages for name in page) == sorted(names)


def test_a_listing_goes_on_after_any_page_and_ends_alike(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(azure_blob_store, "PAGE_SIZE", 3)
    monkeypatch.setattr(local_blob_store, "PAGE_SIZE", 3)
    for name in ("a-1.tif", "a.tif", "a/1.tif", "a/b/2.tif", "a/b.tif", "a0.tif", "ß.tif", "Z.tif", "🛰/x.tif"):
        place.put(name, b"x")
    pages = list(place.store.list_pages(""))
    assert [page.next_marker is None for page in pages][-1:] == [True]
    for number, page in enumerate(pages[:-1], start=1):
        following = [blob.name for page in pages[number:] for blob in page]
        assert [blob.name for rest in place.store.list_pages("", marker=page.next_marker) for blob in rest] == following
    below = list(place.store.list_pages("a/"))
    assert [blob.name for page in below for blob in page] == ["a/1.tif", "a/b.tif", "a/b/2.tif"]


def test_a_level_has_its_blobs_and_its_folders_but_not_what_lies_in_them(place: Place) -> None:
    for name in ("a.tif", "x/a.tif", "x/y/a.tif", "x/y/b.tif", "xy.tif"):
        place.put(name, b"x")
    assert sorted(place.store.list_level("")) == ["a.tif", "x/", "xy.tif"]
    assert sorted(place.store.list_level("x/")) == ["x/a.tif", "x/y/"]
    assert list(place.store.list_level("nosuch/")) == []


def test_a_listing_states_what_it_knows_of_each_blob(place: Place) -> None:
    place.put("a.tif", CONTENT)
    place.put("empty.tif", b"")
    blob = place.blob("a.tif")
    assert (blob.size_bytes, place.blob("empty.tif").size_bytes) == (len(CONTENT), 0)
    assert abs(blob.last_modified - datetime.now(UTC)) < timedelta(minutes=2)
    assert '"' not in blob.etag


def test_the_etag_stays_while_the_blob_does_and_changes_with_it(place: Place) -> None:
    place.put("a.tif", CONTENT)
    first = place.blob("a.tif").etag
    assert place.blob("a.tif").etag == first
    place.put("a.tif", CONTENT)
    assert place.blob("a.tif").etag != first


@pytest.mark.parametrize(("offset", "length"), [(0, 2560), (0, 1), (1, 255), (2559, 1), (2500, 100), (0, 10_000)])
def test_a_range_is_exactly_those_bytes_and_ends_with_the_blob(place: Place, offset: int, length: int) -> None:
    place.put("x/a.tif", CONTENT)
    assert place.store.read_range(place.blob("x/a.tif"), offset, length) == CONTENT[offset : offset + length]


def test_many_threads_may_read_at_once(place: Place) -> None:
    place.put("a.tif", CONTENT)
    blob = place.blob("a.tif")
    with ThreadPoolExecutor(8) as threads:
        parts = list(threads.map(lambda number: place.store.read_range(blob, 100 * number, 100), range(25)))
    assert b"".join(parts) == CONTENT[:2500]


def test_an_overwritten_blob_is_refused_though_its_bytes_are_alike(place: Place) -> None:
    place.put("a.tif", CONTENT)
    listed = place.blob("a.tif")
    place.put("a.tif", CONTENT)
    with pytest.raises(BlobChanged, match=r"a\.tif"):
        place.store.read_range(listed, 0, 10)
    assert place.store.read_range(place.blob("a.tif"), 0, 10) == CONTENT[:10]


def test_a_deleted_blob_is_missing(place: Place) -> None:
    place.put("x/a.tif", CONTENT)
    listed = place.blob("x/a.tif")
    place.delete("x/a.tif")
    with pytest.raises(BlobMissing, match=r"x/a\.tif"):
        place.store.read_range(listed, 0, 10)


def test_a_blob_that_was_deleted_and_put_again_has_changed(place: Place) -> None:
    place.put("a.tif", CONTENT)
    listed = place.blob("a.tif")
    place.delete("a.tif")
    place.put("a.tif", CONTENT[::-1])
    with pytest.raises(BlobChanged):
        place.store.read_range(listed, 0, 10)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_any_characters_is_listed_read_and_addressed(place: Place, name: str) -> None:
    place.put(name, CONTENT)
    assert place.names() == [name]
    assert place.store.head(name) == place.blob(name)
    assert place.store.read_range(place.blob(name), 3, 5) == CONTENT[3:8]
    href = urlsplit(place.store.href(name))
    assert unquote(href.path).endswith(f"/{name}")
    assert (href.query, href.fragment) == ("", "")


def test_an_overwritten_or_deleted_blob_of_an_odd_name_is_told_apart_too(place: Place) -> None:
    name = "größe #1/100%?.tif"
    place.put(name, CONTENT)
    listed = place.blob(name)
    place.put(name, CONTENT)
    with pytest.raises(BlobChanged):
        place.store.read_range(listed, 0, 10)
    place.delete(name)
    with pytest.raises(BlobMissing):
        place.store.read_range(listed, 0, 10)


def test_a_sidecar_is_read_as_it_is_now_and_no_further_than_asked(place: Place) -> None:
    place.put("a b/größe.pgw", CONTENT)
    place.put("empty.pgw", b"")
    assert place.store.read_sidecar("a b/größe.pgw", 100) == CONTENT[:100]
    assert place.store.read_sidecar("a b/größe.pgw", 10_000) == CONTENT
    assert place.store.read_sidecar("empty.pgw", 100) == b""
    assert place.store.read_sidecar("nosuch.pgw", 100) is None
    assert place.store.read_sidecar("nosuch/a.pgw", 100) is None


def test_a_version_with_sidecars_is_read_as_the_blobs_own(place: Place) -> None:
    place.put("a.png", CONTENT)
    blob = place.blob("a.png")
    versioned = replace(blob, etag=f"{blob.etag}{SIDECARS_MARK}0123456789ab")
    assert place.store.read_range(versioned, 1, 9) == CONTENT[1:10]
    place.put("a.png", CONTENT)
    with pytest.raises(BlobChanged):
        place.store.read_range(versioned, 1, 9)


def test_an_address_holds_no_credential(place: Place) -> None:
    href = place.store.href("x/a.tif")
    assert urlsplit(href).scheme in ("file", "http")
    assert urlsplit(href).username is None
    assert AZURITE_KEY not in href


def test_a_place_that_is_not_there_is_a_mistake_in_the_url(
    azurite: Azurite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string)
    for url in ((tmp_path / "nosuch").as_uri(), "az://no-such-container"):
        with BlobStores().open(source_at(url)) as store, pytest.raises(InvalidConfiguration) as caught:
            list(store.list_pages(""))
        assert "sources.yaml" in caught.value.remedy


def test_a_head_shows_what_a_listing_shows_and_nothing_else(place: Place) -> None:
    for name in ("a/b.tif", "empty.tif", "a/größe.tif"):
        place.put(name, b"" if name == "empty.tif" else CONTENT)
        assert place.store.head(name) == place.blob(name)
    for name in ("a", "a/", "a/b", "b.tif", "a/B.tif", "a//b.tif", "./a/b.tif", "a/../a/b.tif", "../b.tif", "x/y/z"):
        assert place.store.head(name) is None, name


@pytest.mark.parametrize("page_size", [1, 4, 5000])
def test_single_looks_find_every_blob_in_the_version_of_a_listing(
    place: Place, page_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However full the folder is, and whatever lies beside a blob."""
    rasters = ["a.tif", "a.png", "a.b.png", "sub/a.jpg", "sub/noextension", "no.such/a.jp2"]
    sidecars = ["a.tfw", "a.PGW", "a.prj", "a.wld", "a.b.pgw", "sub/a.jgw", "no.such/b.j2w", "a.png.aux.xml"]
    crowd = [f"crowd/{number:02}.tif" for number in range(20)]
    for name in (*rasters, *sidecars, *crowd):
        place.put(name, name.encode())
    source = source_at("az://c").model_copy(update={"include": ("**",)})
    listed = {blob.name: blob for page in SourceListing(source, place.store.list_pages("")) for blob in page}
    assert listed["a.png"].has_sidecars
    monkeypatch.setattr(azure_blob_store, "PAGE_SIZE", page_size)
    monkeypatch.setattr(local_blob_store, "PAGE_SIZE", page_size)
    names = [*rasters, *crowd, "gone.tif", "sub/gone.tif", "crowd/gone.tif"]
    assert looked_at(place.store, names) == {name: listed.get(name) for name in names}
    assert looked_at(place.store, ["a.prj"]) == {name: listed[name] for name in ("a.tif", "a.png")}
    assert looked_at(place.store, ["a.PGW", "sub/a.jgw", "no.such/b.j2w"]) == {
        name: listed[name] for name in ("a.png", "sub/a.jpg")
    }


def looked_at(store: BlobStore, names: Sequence[str]) -> dict[str, BlobRef | None]:
    """What single looks say of these names."""
    groups, found = group_names(names), dict[str, BlobRef | None]()
    while groups:
        sights, smaller = look_at(store, groups.pop())
        groups += smaller
        found |= {name: blob for sight in sights.values() for name, blob in sight}
    return found
