"""sources.yaml as a Dagster resource."""

from pathlib import Path

from dagster import ConfigurableResource
from pydantic import Field

from geo_assets.queue_rules import QueueRule
from geo_assets.settings import Settings
from geo_assets.sources import Source, get_source, load_queues, load_sources


class SourcesFile(ConfigurableResource):  # type: ignore[type-arg]
    """The declared sources, read anew at each use so that an edit needs no restart."""

    path: str = Field(default="", description="Path of sources.yaml. Empty: GEO_ASSETS_SOURCES, else the project's.")

    def all(self) -> dict[str, Source]:
        """Every source by name. Raises InvalidConfiguration."""
        return load_sources(self._path())

    def get(self, name: str) -> Source:
        """The source called ``name``. Raises InvalidConfiguration where there is none."""
        return get_source(self._path(), name)

    def queues(self) -> dict[str, QueueRule]:
        """Every queue of events by name. Raises InvalidConfiguration."""
        return load_queues(self._path())

    def _path(self) -> Path:
        return Path(self.path) if self.path else Settings().sources_file
