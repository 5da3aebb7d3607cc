"""Where a blob is stored, as STAC's storage extension v2 says it.

Here: what the blob's address tells of account and region. Not here: addresses themselves (`geo_assets.resources`),
and stores the extension has no word for: folders, emulators, sovereign clouds.
"""

import re
from typing import Any

SCHEME = "azure"
_PLATFORM = "https://{account}.blob.core.windows.net"
_ADDRESS = re.compile(r"https://(?P<account>[a-z0-9-]+)\.blob\.core\.windows\.net/(?P<container>[^/?#]+)/")


def build_storage_schemes(href: str, *, region: str | None) -> dict[str, dict[str, Any]]:
    """``storage:schemes`` with the one scheme `SCHEME` for a blob in Azure's public cloud, {} for any other.

    ``container`` is a field of our own, which the extension allows.
    """
    match = _ADDRESS.match(href)
    if match is None:
        return {}
    scheme = {"type": "ms-azure", "platform": _PLATFORM, **match.groupdict()}
    return {SCHEME: {**scheme, **({"region": region} if region else {})}}
