"""How an op fails: with our error's code, message and remedy as what Dagster shows first."""

from collections.abc import Iterator
from contextlib import contextmanager

from dagster import Failure, MetadataValue

from geo_assets.display import one_line
from geo_assets.errors import GeoAssetsError, PermanentError


@contextmanager
def clear_failures() -> Iterator[None]:
    """Turn a GeoAssetsError into a Dagster Failure; a permanent one is not retried."""
    try:
        yield
    except GeoAssetsError as error:
        raise Failure(
            description=one_line(error),
            metadata={"code": MetadataValue.text(error.code), "remedy": MetadataValue.text(error.remedy or "none")},
            allow_retries=not isinstance(error, PermanentError),
        ) from error
