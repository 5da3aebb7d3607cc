"""The part of sources.yaml that says which queues bring events of blobs, and how much is taken from them at once.

Here: the schema of the file's `queues` key. Not here: the queues (`geo_assets.resources`), the sources (`sources`).
"""

from typing import Literal, Self

from pydantic import AliasChoices, Field, model_validator

from geo_assets.sources.rule import Names, Rule


class QueueRule(Rule):
    """One queue of blob events: exactly one of `storage_queue` and `service_bus` (docs/guides/events.md)."""

    name: str = Field(min_length=1)
    storage_queue: str | None = Field(default=None, pattern=r"^[a-z0-9](-?[a-z0-9]){2,62}$")
    """A queue of the storage account; its dead letters go to NAME-poison."""
    service_bus: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$")
    """A queue, or a subscription as `topic/subscription`."""
    sources: Names = ()
    """Sources whose events it brings, others are dropped; by default every az:// source."""
    batch: int = Field(default=100, ge=1, le=1000)
    """Maximum number of messages received at once."""
    max_per_tick: int = Field(default=5000, ge=1, validation_alias=AliasChoices("max_per_tick", "most_a_tick"))
    """Maximum number of messages received in one tick of the sensor."""
    max_outstanding: int = Field(
        default=20_000, ge=1, validation_alias=AliasChoices("max_outstanding", "most_outstanding")
    )
    """Nothing is received while more blobs of its sources wait for their items."""
    max_attempts: int = Field(default=5, ge=1, validation_alias=AliasChoices("max_attempts", "tries"))
    """A message that fails this many times for a temporary reason becomes a dead letter."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.storage_queue is None) == (self.service_bus is None):
            raise ValueError("a queue has exactly one of storage_queue and service_bus")
        return self

    def serves(self, source: str, *, url: str) -> bool:
        """Whether events of this source come through the queue."""
        return source in self.sources if self.sources else url.startswith("az:")

    @property
    def path(self) -> Literal["storage_queue", "service_bus"]:
        """Which kind of queue it is."""
        return "storage_queue" if self.storage_queue is not None else "service_bus"

    @property
    def queue(self) -> str:
        """The queue's name in its service."""
        return self.storage_queue or self.service_bus or ""
