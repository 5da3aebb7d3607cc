"""From an asset's address to a path that GDAL may open: only of blobs below a declared source, by our own credential.

Here: that one translation, the only step between what an item says and GDAL. Not here: tiles.

Whoever may write items could else have GDAL fetch any address (SSRF) or read any file of this machine.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from azure.identity import DefaultAzureCredential

from geo_assets.api.problems import Forbidden
from geo_assets.settings import Settings
from geo_assets.sources.source import Place, Source
from geo_assets.storage.blob_stores import azure_resource

_TOKEN_MARGIN_SECONDS = 300
_STORAGE_SCOPE = "https://storage.azure.com/.default"
# Of one blob GDAL sees nothing but the blob: no folder, no sidecar, nothing kept of a version that is gone.
BLOB_ENVIRONMENT: dict[str, str | int] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "CPL_VSIL_CURL_NON_CACHED": "/vsiaz/",
    "GDAL_HTTP_TIMEOUT": "30",
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_MAX_RETRY": "2",
    "GDAL_HTTP_FOLLOWLOCATION": "NO",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_MAX_DATASET_POOL_SIZE": "64",
    "GDAL_TIFF_INTERNAL_MASK": "YES",
    "GDAL_NUM_THREADS": "1",
    "GDAL_CACHEMAX": 64 * 1024 * 1024,  # of the whole process: GDAL's own would be a twentieth of the machine's memory
}


@dataclass(frozen=True, slots=True)
class BlobPath:
    """A path for GDAL, and the options to open it with; these hold the credential."""

    path: str
    options: Mapping[str, str]


class BlobPaths:
    """Which blobs may be opened, and how."""

    def __init__(self, settings: Callable[[], Settings], sources: Callable[[], Mapping[str, Source]]) -> None:
        """``settings`` and ``sources`` are asked for each time: both files may change."""
        self._settings = settings
        self._sources = sources
        self._credential: DefaultAzureCredential | None = None
        self._token = ("", 0.0)

    def of(self, href: str) -> BlobPath:
        """How to open the blob at ``href``. Raises Forbidden unless it lies below a source, or where COGs are put."""
        parts = urlsplit(href)
        found: BlobPath | None = None
        if not parts.query and not parts.fragment and not _has_steps(unquote(parts.path)):
            if parts.scheme == "file" and parts.netloc in ("", "localhost"):
                found = self._local(Path(unquote(parts.path)))
            elif parts.scheme == "az":
                found = self._azure(parts.netloc, unquote(parts.path).removeprefix("/"))
            elif parts.scheme in ("https", "http"):
                found = self._by_url(href)
        if found is None:
            raise Forbidden(
                "The asset's address is not below a declared source, so it is not opened.",
                remedy="Declare a source for it in sources.yaml.",
            )
        return found

    def _places(self) -> list[Place]:
        """Where blobs lie that may be opened, by sources.yaml as it is now."""
        sources, settings = self._sources().values(), self._settings()
        made = [source.cogs.url for source in sources if source.cogs is not None and source.cogs.url]
        silver = settings.silver or (settings.state_folder / "silver").as_uri()
        return [Place.of(url) for url in (*(source.url for source in sources), *made, silver)]

    def _local(self, path: Path) -> BlobPath | None:
        try:
            real = path.resolve(strict=True)
        except OSError:
            return None
        allowed = any(
            place.folder is not None and real.is_relative_to(place.folder.resolve()) for place in self._places()
        )
        return BlobPath(str(real), {}) if allowed else None

    def _by_url(self, href: str) -> BlobPath | None:
        if not any(place.container for place in self._places()):
            return None
        account = azure_resource(self._settings()).account_url.rstrip("/")
        wanted, given = urlsplit(account), urlsplit(href)
        base = wanted.path.rstrip("/") + "/"
        if (given.scheme, given.netloc) != (wanted.scheme, wanted.netloc) or not given.path.startswith(base):
            return None
        container, _, name = unquote(given.path[len(base) :]).partition("/")
        return self._azure(container, name)

    def _azure(self, container: str, name: str) -> BlobPath | None:
        allowed = any(place.container == container and name.startswith(place.prefix) for place in self._places())
        return BlobPath(f"/vsiaz/{container}/{name}", self._azure_options()) if allowed and container and name else None

    def _azure_options(self) -> dict[str, str]:
        """The credential of the pipeline, as GDAL takes it."""
        resource = azure_resource(self._settings())
        credential: Any = resource.credential
        account_url = resource.account_url.rstrip("/")
        account = _account_name(account_url)
        endpoint = f"BlobEndpoint={account_url};AccountName={account}"
        # Without a key GDAL takes no connection string, and would look for the account in the public cloud.
        place = {"AZURE_STORAGE_ACCOUNT": account, "CPL_AZURE_ENDPOINT": account_url}
        match credential.credential_type:
            case "key":
                return {"AZURE_STORAGE_CONNECTION_STRING": f"{endpoint};AccountKey={credential.key}"}
            case "sas":
                token = credential.token.lstrip("?")
                return {"AZURE_STORAGE_CONNECTION_STRING": f"{endpoint};SharedAccessSignature={token}"}
            case "anonymous":
                return {**place, "AZURE_NO_SIGN_REQUEST": "YES"}
            case _:
                return {**place, "AZURE_STORAGE_ACCESS_TOKEN": self._access_token()}

    def _access_token(self) -> str:
        """A token of what DefaultAzureCredential finds, such as a managed identity, until shortly before its end."""
        token, ends = self._token
        if time.time() > ends - _TOKEN_MARGIN_SECONDS:
            self._credential = self._credential or DefaultAzureCredential()
            got = self._credential.get_token(_STORAGE_SCOPE)
            self._token = (token, _) = (got.token, float(got.expires_on))
        return token


def _account_name(account_url: str) -> str:
    parts = urlsplit(account_url)
    return parts.path.strip("/") or (parts.hostname or "").partition(".")[0]


def _has_steps(path: str) -> bool:
    return bool({".", ".."} & set(path.split("/"))) or "\\" in path or "\0" in path
