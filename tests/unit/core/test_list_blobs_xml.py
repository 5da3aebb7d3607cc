"""What Azure answers to List Blobs, read as blobs."""

from datetime import UTC, datetime
from email.utils import format_datetime
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo_assets.models import BlobRef
from geo_assets.storage.azure_transport import read_blobs

PROPERTIES = {
    "Creation-Time": "Wed, 01 May 2024 10:00:00 GMT",
    "Last-Modified": "Mon, 09 Sep 2024 08:07:06 GMT",
    "Etag": "0x8DC",
    "Content-Length": "12",
    "Content-Type": "image/tiff",
    "Content-Encoding": "",
    "Content-MD5": "AAECAwQFBgcICQoLDA0ODw==",
    "BlobType": "BlockBlob",
}


def answer(*blobs: str) -> ElementTree.Element:
    return ElementTree.fromstring(
        f"<EnumerationResults><Prefix/><Blobs>{''.join(blobs)}</Blobs><NextMarker/></EnumerationResults>"
    )


def entry(name: str = "<Name>a.tif</Name>", **changed: str) -> str:
    values = PROPERTIES | {key.replace("_", "-"): value for key, value in changed.items()}
    properties = "".join(f"<{key}>{value}</{key}>" for key, value in values.items())
    return f"<Blob>{name}<Properties>{properties}</Properties><OrMetadata/></Blob>"


def test_a_blob_is_all_that_the_answer_says_of_it() -> None:
    assert read_blobs(answer(entry())) == [
        BlobRef(
            name="a.tif",
            etag="0x8DC",
            size_bytes=12,
            last_modified=datetime(2024, 9, 9, 8, 7, 6, tzinfo=UTC),
            content_type="image/tiff",
            md5="000102030405060708090a0b0c0d0e0f",
        )
    ]


def test_what_a_blob_has_not_is_none() -> None:
    (blob,) = read_blobs(answer(entry(Content_MD5="", Content_Type="", Content_Length="0")))
    assert (blob.md5, blob.content_type, blob.size_bytes) == (None, None, 0)


def test_the_quotes_of_an_etag_are_no_part_of_it() -> None:
    (blob,) = read_blobs(answer(entry(Etag='"0x8DC"')))
    assert blob.etag == "0x8DC"


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("<Name>a&amp;b &lt;1&gt; 日本.tif</Name>", "a&b <1> 日本.tif"),
        ("<Name> leading and trailing .tif </Name>", " leading and trailing .tif "),
        ("<Name>a%20b.tif</Name>", "a%20b.tif"),
        ('<Name Encoded="true">%EF%BF%BE%20.tif</Name>', "\ufffe .tif"),
        ('<Name Encoded="false">a%20b.tif</Name>', "a%20b.tif"),
    ],
)
def test_a_name_is_taken_as_it_is_written(written: str, name: str) -> None:
    assert [blob.name for blob in read_blobs(answer(entry(written)))] == [name]


def test_folders_are_no_blobs() -> None:
    folder = entry("<Name>x.tif</Name>", ResourceType="directory")
    file = entry("<Name>x.tif/y.tif</Name>", ResourceType="file")
    prefix = "<BlobPrefix><Name>z/</Name></BlobPrefix>"
    assert [blob.name for blob in read_blobs(answer(folder, prefix, file))] == ["x.tif/y.tif"]


def test_an_empty_page_has_no_blobs() -> None:
    assert read_blobs(answer()) == []


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9999, 12, 31)))
def test_a_date_means_what_the_standard_library_takes_it_for(moment: datetime) -> None:
    whole = moment.replace(microsecond=0, tzinfo=UTC)
    (blob,) = read_blobs(answer(entry(Last_Modified=format_datetime(whole, usegmt=True))))
    assert blob.last_modified == whole
