"""Ids are readable, URL-safe and never shared by two paths."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo_assets.names import item_id, slug

NEAR_MISSES = st.text(alphabet="ab1_-./~ éÉ", max_size=12).map(lambda text: text + ".tif") | st.text(
    alphabet="ab-/.TIFtif~", max_size=12
)
PATHS = NEAR_MISSES | st.text(min_size=1, max_size=300)


@pytest.mark.parametrize(
    ("path", "readable"),
    [
        ("a.TIF", "a"),
        ("a--b.tif", "a-b"),
        ("über/Größe 1.tiff", "uber--Gro-e-1"),
        ("日本.tif", ""),
    ],
)
def test_a_path_that_is_not_plain_stays_readable_and_gets_a_digest(path: str, readable: str) -> None:
    assert re.fullmatch(re.escape(readable) + "~[0-9a-f]{10}", slug(path))


@pytest.mark.parametrize(
    ("path", "expected"), [("a.tif", "a"), ("2020/LC08_01-x.y.tif", "2020--LC08_01-x.y"), ("a/b/c.tif", "a--b--c")]
)
def test_a_plain_path_is_its_own_slug(path: str, expected: str) -> None:
    assert slug(path) == expected


@given(PATHS, PATHS)
def test_two_paths_never_share_a_slug(one: str, other: str) -> None:
    assert (slug(one) == slug(other)) == (one == other)


@given(st.sampled_from(["{slug}", "{stem}", "{path}", "x-{stem}-{slug}"]), PATHS)
def test_every_id_is_url_safe_and_short(template: str, path: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_~][A-Za-z0-9._~-]{0,199}", item_id(template, blob_name=path, prefix=""))


def test_the_slug_is_the_id_and_the_prefix_is_no_part_of_it() -> None:
    assert item_id("{slug}", blob_name="bronze/a/b.tif", prefix="bronze/") == "a--b"
    assert item_id("{stem}", blob_name="bronze/a/b.tif", prefix="bronze/") == "b"
    assert item_id("lc-{path}", blob_name="bronze/a/b.tif", prefix="bronze/") == "lc-a--b.tif"


@given(PATHS)
def test_the_default_template_keeps_the_slug(path: str) -> None:
    assert item_id("{slug}", blob_name=path, prefix="") == slug(path)
