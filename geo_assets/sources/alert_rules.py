"""The part of sources.yaml that says what people are alerted to, and how often.

Here: the schema of the file's `alerts` key. Not here: where alerts go, which is the deployment's affair and secret
(`geo_assets.settings`), and what is told when (`geo_assets.alerts.alerts`).
"""

from datetime import timedelta
from typing import Literal

from geo_assets.sources.intervals import Interval
from geo_assets.sources.rule import Rule

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
