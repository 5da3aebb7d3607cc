"""Which blobs belong to a source, and when a listing may speak of what it did not see."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo_assets.core.listing import SourceListing, build_matcher
from geo_assets.models import BlobRef
from geo_assets.sources import CollectionRule, Source

NAMES = st.from_regex(r"(\.?[ab]/){0,2}\.?[ab]{1,3}\.(tif|TIF|txt)", fullmatch=True)


def source(**fields: Any) -> Source:
    return Source(name="s", **{"url": "az://bronze", "collection": CollectionRule(id="c", description="d"), **fields})


def blob(name: str) -> BlobRef:
    return BlobRef(name=name, etag="1", size_bytes=1, last_modified=datetime(2024, 5, 6, tzinfo=UTC))


def page(*names: str) -> list[BlobRef]:
    return [blob(name) for name in names]


def names(pages: Sequence[Sequence[BlobRef]]) -> list[str]:
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
    listing = SourceListing(source(), [page("a.tif"), [], page("b.tif")])
    assert not listing.complete
    assert names(list(listing)) == ["a.tif", "b.tif"]
    assert listing.complete


def test_an_empty_container_is_complete() -> None:
    listing = SourceListing(source(), [[]])
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

    def pages() -> Iterator[list[BlobRef]]:
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
    def pages() -> Iterator[list[BlobRef]]:
        yield page("a.tif")
        raise ConnectionError

    listing = SourceListing(source(), pages())
    with pytest.raises(ConnectionError):
        list(listing)
    assert not listing.complete
