"""What all parts of sources.yaml have in common, and the two parts that are of no single source: `queues` and `alerts`.

Here: the base of their models, one value where a list may stand, lengths of time as people write them, which queues
bring events of blobs and how much is taken from them at once, what people are alerted to and how often. Not here: the
parts of a source (`source` and its *_rules), the queues (`geo_assets.events`), where alerts go, which is the
deployment's affair and secret (`geo_assets.settings`), and what is told when (`geo_assets.alerts.alerts`).
"""

import re
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, model_validator


class Rule(BaseModel):
    """A mapping of sources.yaml. The text below a key says what it means, in docs/reference/sources.md too."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


OneOrMore = BeforeValidator(_as_list)
"""One text where a list of one is meant."""
Names = Annotated[tuple[str, ...], OneOrMore]


_UNITS = {"s": "seconds", "m": "minutes", "min": "minutes", "h": "hours", "d": "days"}
_SHORT = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)")


def _interval(value: object) -> object:
    """Read `90s`, `30 min`, `1h`, `2 days`; all else (such as PT1H) is left to pydantic."""
    if isinstance(value, str) and (match := _SHORT.fullmatch(value.strip().lower())):
        number, unit = match.groups()
        name = _UNITS.get(unit, unit if unit.endswith("s") else f"{unit}s")
        if name in _UNITS.values():
            return timedelta(**{name: float(number)})
    return value


Interval = Annotated[timedelta, BeforeValidator(_interval), Field(ge=timedelta(0))]


Kind = Literal[
    "failed_run",
    "failed_tick",
    "unreachable",
    "poison",
    "backlog",
    "census",
    "deletions_held",
    "unforeseen",
    "not_observed",
]


class AlertRules(Rule):
    """What is told, and how often the same is told again (docs/guides/alerts.md)."""

    backlog: Interval = timedelta(hours=1)
    """A backlog is reported if a blob waits longer for its item."""
    again: Interval = timedelta(hours=12)
    """A trouble that lasts is reported again after this interval."""
    quiet: Interval = timedelta(minutes=15)
    """News of a lasting trouble, such as further dead letters, is reported no sooner than this after the last."""
    ignore: tuple[Kind, ...] = ()
    """Kinds of trouble that send no alert."""


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
