"""Where a blob is stored, by its address."""

import pytest

from geo_assets.stac.extensions import build_storage_schemes


def test_a_blob_of_azures_public_cloud_has_account_container_and_region() -> None:
    href = "https://lake.blob.core.windows.net/bronze/a.tif"
    scheme = {
        "type": "ms-azure",
        "platform": "https://{account}.blob.core.windows.net",
        "account": "lake",
        "container": "bronze",
    }
    assert build_storage_schemes(href, region=None) == {"azure": scheme}
    assert build_storage_schemes(href, region="westeurope") == {"azure": {**scheme, "region": "westeurope"}}


@pytest.mark.parametrize(
    "href",
    [
        "file:///data/a.tif",
        "http://127.0.0.1:10000/devstoreaccount1/bronze/a.tif",
        "https://lake.blob.core.chinacloudapi.cn/bronze/a.tif",
        "https://lake.blob.core.windows.net.example/bronze/a.tif",
    ],
)
def test_of_other_places_nothing_is_said(href: str) -> None:
    assert build_storage_schemes(href, region="westeurope") == {}
