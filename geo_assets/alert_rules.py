"""The part of sources.yaml that says what people are alerted to, and how often.

Here: the schema of the file's `alerts` key. Not here: where alerts go, which is the deployment's affair and secret
(`geo_assets.settings`), and what is told when (`geo_assets.core.alerts`).
"""

from datetime import timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict

from geo_assets.intervals import Interval

Kind = Literal["failed_run", "failed_tick", "poison", "backlog", "census", "deletions_held", "not_observed"]


class AlertRules(BaseModel):
    """What is told, and how often the same is told again.

    A source's backlog is told where a blob waits longer than ``backlog``. What stands is told again after ``again``;
    news of it, such as further messages given up, not sooner than ``quiet`` after it was last told. ``ignore`` names
    kinds that nobody wants to hear of.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    backlog: Interval = timedelta(hours=1)
    again: Interval = timedelta(hours=12)
    quiet: Interval = timedelta(minutes=15)
    ignore: tuple[Kind, ...] = ()
