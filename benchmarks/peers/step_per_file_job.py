"""The naive job: one dynamic step a file, each in a process of its own, as Dagster does it by default.

What a step does is what the tuned script does to a file, but for the load.
"""

import os
from collections.abc import Iterator

from azure.storage.blob import ContainerClient
from dagster import Config, Definitions, DynamicOut, DynamicOutput, job, op
from rio_stac import create_stac_item

from benchmarks.corpus import blob_datetime


class Container(Config):
    """Where the files are, and how many to take."""

    container: str
    files: int


@op(out=DynamicOut(tuple[str, str]))
def list_files(config: Container) -> Iterator[DynamicOutput[tuple[str, str]]]:
    """One dynamic output a file."""
    connection = os.environ["AZURE_STORAGE_CONNECTION_STRING"]
    with ContainerClient.from_connection_string(connection, config.container) as client:
        names = [name for name in client.list_blob_names() if name.endswith(".tif")]
    for number, name in enumerate(names[: config.files]):
        yield DynamicOutput((config.container, name), mapping_key=f"file_{number:05d}")


@op
def describe_file(file: tuple[str, str]) -> str:
    """The item of one file."""
    container, name = file
    item = create_stac_item(
        f"/vsiaz/{container}/{name}", input_datetime=blob_datetime(name), with_proj=True, collection="corpus"
    )
    return str(item.id)


@op
def count_items(items: list[str]) -> int:
    """How many items came of it."""
    return len(items)


@job
def step_per_file() -> None:
    """List -> describe each -> count."""
    count_items(list_files().map(describe_file).collect())


definitions = Definitions(jobs=[step_per_file])
