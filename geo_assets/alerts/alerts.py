"""What people are told and when: each trouble once, again while it lasts, and when it ends.

Here: from findings, what was told before and the time to messages; and their words. Not here: finding
(`geo_assets.sensors.alerts`), delivering (`geo_assets.alerts.destinations`).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from geo_assets.display import chat, one_line, say_duration
from geo_assets.sources.rules import AlertRules, Kind

State = Literal["new", "news", "still", "resolved"]
MOST_IN_A_MESSAGE = 20


@dataclass(frozen=True, slots=True)
class AlertCondition:
    """A trouble that lasts: ``key`` names what it is about, and stays the same until the trouble ends.

    ``version`` changes where there is news of it. ``title`` says it in one line, ``what`` in more. ``link`` is the path
    of a page of Dagster's.
    """

    kind: Kind
    key: str
    title: str
    what: str
    count: int
    remedy: str
    source: str | None = None
    run_id: str | None = None
    link: str | None = None
    version: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """What a destination was told about one trouble: since when it lasts, and when and which version was last told."""

    kind: Kind
    title: str
    source: str | None
    since: datetime
    at: datetime
    version: str
    ended: datetime | None = None


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing to tell; of what has ended, ``finding`` is None."""

    state: State
    key: str
    told: Told
    finding: AlertCondition | None


def plan_alerts(
    findings: Sequence[AlertCondition],
    told: Mapping[str, Told],
    *,
    rules: AlertRules,
    now: datetime,
    unseen: Collection[Kind] = (),
) -> tuple[list[Alert], dict[str, Told]]:
    """What to tell a destination that was ``told`` this before, and what it has been told after that.

    A trouble is new, has news, still lasts or has ended. Except for its end nothing about it is told twice within
    ``rules.quiet``, also where it ended in between and came back. Of kinds that are ``unseen``, for what shows them
    cannot be asked now, nothing ends.
    """
    alerts, after = list[Alert](), dict[str, Told]()
    for finding in (finding for finding in findings if finding.kind not in rules.ignore):
        before = told.get(finding.key)
        state = _state(finding, before, rules=rules, now=now)
        if state is None:
            assert before is not None
            after[finding.key] = before
            continue
        since = before.since if before is not None and state != "new" else now
        entry = Told(finding.kind, finding.title, finding.source, since, now, finding.version)
        after[finding.key] = entry
        alerts.append(Alert(state, finding.key, entry, finding))
    for key, before in told.items():
        if key in after:
            continue
        if before.kind in unseen:
            after[key] = before
        elif before.ended is None:
            after[key] = replace(before, ended=now)
            alerts.append(Alert("resolved", key, after[key], None))
        elif now < before.at + rules.quiet:
            after[key] = before
    return alerts, after


def _state(finding: AlertCondition, before: Told | None, *, rules: AlertRules, now: datetime) -> State | None:
    """What there is to tell about a trouble that lasts; None: nothing now."""
    if before is None:
        return "new"
    if now < before.at + rules.quiet:
        return None
    if before.ended is not None:
        return "new"
    if finding.version != before.version:
        return "news"
    return "still" if now >= before.at + rules.again else None


@dataclass(frozen=True, slots=True)
class Notification:
    """What one destination is told at once. ``dagster_url`` is where links lead, None if it is not set."""

    alerts: Sequence[Alert]
    now: datetime
    dagster_url: str | None = None

    @property
    def subject(self) -> str:
        """One line: the only trouble, or how many there are."""
        if len(self.alerts) == 1:
            return f"geo_assets: {one_line(_headline(self.alerts[0]))}"
        ended = sum(alert.state == "resolved" for alert in self.alerts)
        parts = [f"{len(self.alerts) - ended} alerts"] if ended < len(self.alerts) else []
        return f"geo_assets: {', '.join(parts + ([f'{ended} resolved'] if ended else []))}"

    @property
    def text(self) -> str:
        """All of it for people, at most `MOST_IN_A_MESSAGE` alerts in full."""
        return self._text(one_line)

    def _text(self, say: Callable[[object], str]) -> str:
        words = [self._words(alert, say) for alert in self.alerts[:MOST_IN_A_MESSAGE]]
        if more := len(self.alerts) - len(words):
            words.append(f"And {more:,} more: geo-assets alerts list")
        return "\n\n".join(words)

    def as_json(self) -> dict[str, Any]:
        """The body of a webhook: ``text`` for chats such as Slack and Teams, ``alerts`` for programs.

        In ``text`` what a blob's name or an error says cannot mention a person or be a link.
        """
        text = f"{chat(self.subject)}\n\n{self._text(chat)}"
        return {"text": text, "alerts": [self._fields(alert) for alert in self.alerts]}

    def _words(self, alert: Alert, say: Callable[[object], str]) -> str:
        finding, told = alert.finding, alert.told
        if finding is None:
            return f"{say(_headline(alert))}\nIt stood for {say_duration(self.now - told.since)}."
        lines = [say(_headline(alert)), say(finding.what)]
        if alert.state in ("news", "still"):
            lines.append(f"First told {say_duration(self.now - told.since)} ago.")
        lines.append(f"Remedy: {say(finding.remedy)}")
        if (url := self._url(finding)) is not None:
            lines.append(url)
        return "\n".join(lines)

    def _url(self, finding: AlertCondition) -> str | None:
        if self.dagster_url is None or finding.link is None:
            return None
        return f"{self.dagster_url.rstrip('/')}/{finding.link}"

    def _fields(self, alert: Alert) -> dict[str, Any]:
        finding, told = alert.finding, alert.told
        fields: dict[str, Any] = {
            "state": alert.state,
            "key": alert.key,
            "kind": told.kind,
            "title": told.title,
            "source": told.source,
            "since": told.since.isoformat(),
        }
        if finding is not None:
            fields |= {"what": finding.what, "count": finding.count, "remedy": finding.remedy}
            fields |= {"run_id": finding.run_id, "url": self._url(finding)}
        return fields


_LABELS: dict[State, str] = {"new": "", "news": "", "still": "Still: ", "resolved": "Resolved: "}


def _headline(alert: Alert) -> str:
    return f"{_LABELS[alert.state]}{alert.told.title}"
