"""The partition key of every asset: the source."""

from collections.abc import Sequence

from dagster import DagsterInstance, DynamicPartitionsDefinition

SOURCES_PARTITIONS = "sources"
sources_partitions = DynamicPartitionsDefinition(name=SOURCES_PARTITIONS)


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
