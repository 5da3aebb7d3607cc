"""What every asset is defined with: its owner and group in the UI, the source as partition key, and how its ops fail.

Here: what Dagster asks of any asset, of a stage or not. Not here: what stages have in common (`stage`), and what an
asset shows when it is done (`reports`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from dagster import DagsterInstance, DynamicPartitionsDefinition, Failure, MetadataValue
from dagster._core.instance import DynamicPartitionsStore

from geo_assets.display import one_line
from geo_assets.errors import GeoAssetsError, PermanentError
from geo_assets.resources.sources_file import SourcesFile

OWNERS = ["team:geospatial-data-engineering"]

BRONZE = "bronze"
CATALOGUE = "catalogue"
DATABASE = "database"
SILVER = "silver"


SOURCES_PARTITIONS = "sources"


class SourcesPartitions(DynamicPartitionsDefinition):
    """Dynamic partitions that also take a source which is declared but not registered yet.

    `dagster asset materialize` and `dg launch` check the key before the run, whose first op registers it.
    """

    def has_partition_key(
        self,
        partition_key: str,
        current_time: datetime | None = None,
        dynamic_partitions_store: DynamicPartitionsStore | None = None,
    ) -> bool:
        """Whether the key is registered in the instance or declared in sources.yaml."""
        registered = super().has_partition_key(partition_key, current_time, dynamic_partitions_store)
        return registered or partition_key in SourcesFile().all()


sources_partitions = SourcesPartitions(name=SOURCES_PARTITIONS)


def register_partitions(instance: DagsterInstance, names: Sequence[str]) -> list[str]:
    """Make each source a partition; those that were none before.

    A run may be launched for a source that no sensor has met yet: its first op calls this, or the last
    step would fail with all the work done.
    """
    known = set(instance.get_dynamic_partitions(SOURCES_PARTITIONS))
    added = [name for name in names if name not in known]
    if added:
        instance.add_dynamic_partitions(SOURCES_PARTITIONS, added)
    return added


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
