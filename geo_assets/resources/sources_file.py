"""sources.yaml as a Dagster resource."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from pydantic import Field

from geo_assets.configured import ConfiguredResource
from geo_assets.sources.rules import AlertRules, QueueRule
from geo_assets.sources.source import Source, get_source, load_alert_rules, load_queues, load_sources

RELIST_SERVED = timedelta(hours=1)
"""Events are told at least once, but not for ever: a source whose events a queue brings is listed so often."""


EVENT_ALLOWANCE = timedelta(minutes=5)
"""So old a change must be before a listing that finds it says that its event did not come."""


class SourcesFile(ConfiguredResource):
    """The declared sources, read again at each use so that an edit needs no restart."""

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

    def alert_rules(self) -> AlertRules:
        """What people are alerted to. Raises InvalidConfiguration."""
        return load_alert_rules(self._path())

    def event_allowance(self, source: Source) -> timedelta | None:
        """How long an event of this source may take; None where no queue brings any. Raises InvalidConfiguration."""
        return EVENT_ALLOWANCE if _is_served(source, self.queues()) else None

    def relist(self) -> dict[str, timedelta]:
        """How long the sensor leaves each source unlisted. Raises InvalidConfiguration."""
        queues = self.queues()
        return {name: _relist(source, queues) for name, source in self.all().items()}

    def _path(self) -> Path:
        return Path(self.path) if self.path else self.settings.sources_file


def _is_served(source: Source, queues: Mapping[str, QueueRule]) -> bool:
    return any(queue.serves(source.name, url=source.url) for queue in queues.values())


def _relist(source: Source, queues: Mapping[str, QueueRule]) -> timedelta:
    if source.relist is not None:
        return source.relist
    return RELIST_SERVED if _is_served(source, queues) else timedelta(0)
