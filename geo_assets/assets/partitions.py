"""The partition key of every asset: the source."""

from collections.abc import Sequence
from datetime import datetime

from dagster import DagsterInstance, DynamicPartitionsDefinition
from dagster._core.instance import DynamicPartitionsStore

from geo_assets.resources.sources_file import SourcesFile

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
