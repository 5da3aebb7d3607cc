"""Which blobs belong to a source, and when a listing may speak of what it did not see."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wcmatch import glob

from geo_assets.models import BlobPage, BlobRef
from geo_assets.sources.source import CollectionRule, Source
from geo_assets.storage.listing import MOST_EXTENSIONS, SourceListing, build_matcher, outside_shards

NAMES = st.from_regex(r"(\.?[ab]/){0,2}\.?[ab]{1,3}\.(tif|TIF|txt)", fullmatch=True)


def source(**fields: Any) -> Source:
    return Source(name="s", **{"url": "az://bronze", "collection": CollectionRule(id="c", description="d"), **fields})


def blob(name: str) -> BlobRef:
    return BlobRef(name=name, etag="1", size_bytes=1, last_modified=datetime(2024, 5, 6, tzinfo=UTC))


def page(*names: str) -> BlobPage:
    return BlobPage([blob(name) for name in names])


def names(pages: Sequence[BlobPage]) -> list[str]:
    return [blob.name for page in pages for blob in page]


@pytest.mark.parametrize(
    ("include", "name", "matches"),
    [
        ("**/*.tif", "a.tif", True),
        ("**/*.tif", "x/a.tif", True),
        ("**/*.tif", "x/y/z/a.tif", True),
        ("**/*.tif", "a.TIF", False),
        ("**/*.tif", "a.tif.aux.xml", False),
        ("**/*.tif", "atif", False),
        ("**/*.tif", ".hidden.tif", True),
        ("**/*.tif", ".folder/a.tif", True),
        ("*.tif", "a.tif", True),
        ("*.tif", "x/a.tif", False),
        ("x/*.tif", "x/a.tif", True),
        ("x/*.tif", "x/y/a.tif", False),
        ("x/**", "x/y/a.anything", True),
        ("**/B0[2-4].tif", "tile/B03.tif", True),
        ("**/B0[2-4].tif", "tile/B05.tif", False),
        ("scene_?.tif", "scene_1.tif", True),
        ("scene_?.tif", "scene_10.tif", False),
        ("**/*.tif", "größe/日本 1.tif", True),
        ("**/*.tif", "line\nbreak.tif", True),
        ("**/*.tif", "back\\slash.tif", True),
        ("**/*.tif", "x//a.tif", True),
        ("**/*.tif", "~/[a]{b}|!.tif", True),
        ("**/*.tif", "/a.tif", True),
        ("**", "x/", True),
        ("**/*.tif", "./a.tif", True),
        ("**/*.tif", "x/../a.tif", True),
        ("x/*/a.tif", "x/../a.tif", True),
        ("x/../*.tif", "x/../a.tif", True),
        ("**/*.tif", "x/./a.txt", False),
        ("**", "x/..", True),
        ("*", "x/..", False),
    ],
)
def test_globs_speak_of_the_path(include: str, name: str, matches: bool) -> None:
    assert build_matcher(source(include=[include]))(name) is matches


def test_by_default_the_usual_spellings_of_tiff_match_at_every_depth() -> None:
    matches = build_matcher(source())
    assert all(matches(f"{folder}a{suffix}") for folder in ("", "x/", "x/y/") for suffix in (".tif", ".tiff", ".TIF"))
    assert not any(matches(name) for name in ("a.txt", "x/a.ovr", "tif", "a.tif/readme"))


def test_one_include_glob_is_enough() -> None:
    matches = build_matcher(source(include=["a/*.tif", "b/*.tif"]))
    assert [name for name in ("a/1.tif", "b/1.tif", "c/1.tif") if matches(name)] == ["a/1.tif", "b/1.tif"]


def test_an_exclude_glob_wins_over_an_include_glob() -> None:
    matches = build_matcher(source(include=["**/*.tif"], exclude=["**/thumb_*", "old/**"]))
    seen = ("a.tif", "x/thumb_a.tif", "thumb_a.tif", "old/a.tif", "old/x/a.tif", "older/a.tif")
    assert [name for name in seen if matches(name)] == ["a.tif", "older/a.tif"]


def test_globs_are_seen_from_below_the_prefix() -> None:
    matches = build_matcher(source(url="az://bronze/landsat/c2", include=["*.tif"]))
    seen = ("landsat/c2/a.tif", "landsat/c2/x/a.tif", "a.tif", "landsat/c2x/a.tif", "landsat/c2.tif")
    assert [name for name in seen if matches(name)] == ["landsat/c2/a.tif"]


def test_a_prefix_is_no_pattern() -> None:
    matches = build_matcher(source(url="az://bronze/[ab]*", include=["*.tif"]))
    assert matches("[ab]*/1.tif")
    assert not matches("a/1.tif")


@given(NAMES)
def test_an_exclude_of_everything_leaves_nothing(name: str) -> None:
    assert not build_matcher(source(include=["**"], exclude=["**"]))(name)


@given(st.lists(NAMES, unique=True))
def test_every_blob_is_either_in_the_source_or_counted_as_ignored(seen: list[str]) -> None:
    listing = SourceListing(source(include=["**/*.tif"]), [page(*seen)])
    listed = names(list(listing))
    assert listed == [name for name in seen if name.endswith(".tif")]
    assert listing.ignored == len(seen) - len(listed)


def test_what_is_passed_over_is_counted_by_extension() -> None:
    listing = SourceListing(source(), [page("a.tif", "a.TXT", "b.txt"), page("x/README", "x/a.b/c", "d.jp2")])
    assert names(list(listing)) == ["a.tif"]
    assert listing.ignored_by_extension == {".txt": 2, "(none)": 2, ".jp2": 1}


def test_a_listing_seen_to_its_end_is_complete() -> None:
    listing = SourceListing(source(), [page("a.tif"), page(), page("b.tif")])
    assert not listing.complete
    assert names(list(listing)) == ["a.tif", "b.tif"]
    assert listing.complete


def test_an_empty_container_is_complete() -> None:
    listing = SourceListing(source(), [page()])
    assert names(list(listing)) == []
    assert listing.complete


def test_a_listing_that_stops_at_the_limit_is_not_complete() -> None:
    listing = SourceListing(source(limit=3), [page("a.tif", "b.tif"), page("c.tif", "d.tif"), page("e.tif")])
    assert names(list(listing)) == ["a.tif", "b.tif", "c.tif"]
    assert not listing.complete


def test_a_source_with_exactly_as_many_blobs_as_its_limit_is_complete() -> None:
    listing = SourceListing(source(limit=2), [page("a.tif", "b.tif"), page("c.txt")])
    assert names(list(listing)) == ["a.tif", "b.tif"]
    assert listing.complete


def test_the_limit_counts_the_sources_own_blobs_only() -> None:
    listing = SourceListing(source(limit=2), [page("1.txt", "2.txt", "a.tif", "3.txt", "b.tif")])
    assert names(list(listing)) == ["a.tif", "b.tif"]
    assert listing.complete


def test_no_page_beyond_the_limit_is_asked_for() -> None:
    asked = []

    def pages() -> Iterator[BlobPage]:
        for number in range(100):
            asked.append(number)
            yield page(f"{number}.tif", f"{number}b.tif")

    assert len(names(list(SourceListing(source(limit=3), pages())))) == 3
    assert asked == [0, 1]


def test_an_iteration_that_is_left_early_is_not_complete() -> None:
    listing = SourceListing(source(), [page("a.tif"), page("b.tif")])
    next(iter(listing))
    assert not listing.complete


def test_a_page_that_fails_leaves_the_listing_incomplete() -> None:
    def pages() -> Iterator[BlobPage]:
        yield page("a.tif")
        raise ConnectionError

    listing = SourceListing(source(), pages())
    with pytest.raises(ConnectionError):
        list(listing)
    assert not listing.complete


@given(NAMES, st.lists(st.sampled_from(["**/*.tif", "*.TIF", "a/**", "**/[ab]*", "*/?.txt", "**"]), min_size=1))
def test_all_globs_at_once_match_what_they_match_one_by_one(name: str, globs: list[str]) -> None:
    flags = glob.GLOBSTAR | glob.DOTGLOB | glob.CASE | glob.FORCEUNIX
    one_by_one = any(glob.globmatch(name, pattern, flags=flags) for pattern in globs)
    assert build_matcher(source(include=globs))(name) is one_by_one
    assert build_matcher(source(include=["**"], exclude=globs))(name) is not one_by_one


def test_a_listing_that_goes_on_counts_from_where_it_was_left() -> None:
    pages = [BlobPage(page("c.tif", "x.txt", "d.tif").blobs, "on")]
    listing = SourceListing(source(limit=3), pages, listed=2, ignored=Counter({".txt": 5}))
    assert names(list(listing)) == ["c.tif"]
    assert not listing.complete
    assert listing.ignored_by_extension == {".txt": 6}


def test_a_page_keeps_the_marker_that_follows_it() -> None:
    pages = [BlobPage(page("a.tif").blobs, "1"), BlobPage(page("x.txt").blobs, "2"), page("b.tif")]
    assert [one.next_marker for one in SourceListing(source(), pages)] == ["1", "2", None]


def test_a_million_extensions_do_not_make_the_count_grow() -> None:
    listing = SourceListing(source(), [page(*(f"a.{number}" for number in range(1000)))])
    assert names(list(listing)) == []
    assert listing.ignored == 1000
    assert len(listing.ignored_by_extension) == MOST_EXTENSIONS + 1


def outside(shards: list[str], *names: str, prefix: str = "") -> list[str]:
    """What of these names lies outside the shards, as one who walks through their folders finds it."""

    def list_level(path: str) -> list[str]:
        below = (name[len(path) :].partition("/") for name in names if name.startswith(path))
        return sorted({path + name + slash for name, slash, _ in below})

    return list(outside_shards(source(shards=shards, url=f"az://bronze/{prefix}"), list_level))


def test_what_lies_in_a_shard_is_not_outside() -> None:
    assert outside(["2023/", "2024/"], "2023/a.tif", "2024/x/b.tif") == []


def test_folders_and_blobs_in_no_shard_are_named_and_not_looked_into() -> None:
    assert outside(["2023/"], "2023/a.tif", "2024/x/a.tif", "2024/b.tif", "2023.tif", "z.tif") == [
        "2023.tif",
        "2024/",
        "z.tif",
    ]


def test_a_folder_that_leads_to_a_shard_is_looked_into() -> None:
    assert outside(["a/b/", "a/c0"], "a/b/1.tif", "a/c01/2.tif", "a/c1/3.tif", "a/4.tif", "b/5.tif") == [
        "a/4.tif",
        "a/c1/",
        "b/",
    ]


def test_shards_are_seen_from_below_the_prefix() -> None:
    assert outside(["x/"], "landsat/x/1.tif", "landsat/y/2.tif", "other/3.tif", prefix="landsat") == ["landsat/y/"]
