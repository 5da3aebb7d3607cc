"""What is told when, by a clock the test holds, and in which words."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from geo_assets.alerts.alerts import MOST_IN_A_MESSAGE, Alert, AlertCondition, Notification, Told, plan_alerts
from geo_assets.sources.rules import AlertRules

NOON = datetime(2024, 5, 6, 12, tzinfo=UTC)
RULES = AlertRules(again=timedelta(hours=12), quiet=timedelta(minutes=15))
MINUTE = timedelta(minutes=1)
BACKLOG = AlertCondition(
    kind="backlog",
    key="backlog:landsat",
    title="landsat: a blob has been waiting",
    what="7 blobs are pending.",
    count=7,
    remedy="Look.",
    source="landsat",
    link="assets/stac_items",
)
POISON = replace(
    BACKLOG, kind="poison", key="poison:bus:q", title="q: 1 message was given up", version="1", source=None
)


class Listener:
    """A destination that takes everything, at the times the test says."""

    def __init__(self) -> None:
        self.told: dict[str, Told] = {}

    def hears(
        self, minute: float, *findings: AlertCondition, rules: AlertRules = RULES, unseen: tuple[str, ...] = ()
    ) -> list[str]:
        alerts, self.told = plan_alerts(
            findings,
            self.told,
            rules=rules,
            now=NOON + minute * MINUTE,
            unseen=unseen,  # type: ignore[arg-type]
        )
        return [f"{alert.state} {alert.key}" for alert in alerts]


def test_a_trouble_is_told_once_again_after_hours_and_when_it_ends() -> None:
    listener = Listener()
    assert listener.hears(0, BACKLOG) == ["new backlog:landsat"]
    assert listener.hears(1, BACKLOG) == listener.hears(12 * 60 - 1, replace(BACKLOG, count=9)) == []
    assert listener.hears(12 * 60, BACKLOG) == ["still backlog:landsat"]
    assert listener.told["backlog:landsat"].since == NOON
    assert listener.hears(12 * 60 + 1) == ["resolved backlog:landsat"]
    assert listener.hears(12 * 60 + 2) == []
    assert listener.hears(13 * 60) == []
    assert listener.told == {}


def test_news_of_a_trouble_waits_until_it_was_quiet_and_is_not_forgotten() -> None:
    listener = Listener()
    listener.hears(0, POISON)
    more = replace(POISON, version="2")
    assert listener.hears(1, more) == []
    assert listener.hears(15, more) == ["news poison:bus:q"]
    assert listener.hears(40, more) == []


def test_what_comes_and_goes_is_told_of_once_in_the_quiet_time_but_for_its_end() -> None:
    listener = Listener()
    heard = [listener.hears(minute, *([BACKLOG] if minute % 2 == 0 else [])) for minute in range(18)]
    assert [words for words in heard if words] == [
        ["new backlog:landsat"],
        ["resolved backlog:landsat"],
        ["new backlog:landsat"],
        ["resolved backlog:landsat"],
    ]
    assert heard[16] == ["new backlog:landsat"]


def test_what_cannot_be_asked_for_does_not_end() -> None:
    listener = Listener()
    listener.hears(0, BACKLOG, POISON)
    assert listener.hears(20, unseen=("backlog",)) == ["resolved poison:bus:q"]
    assert listener.hears(21) == ["resolved backlog:landsat"]


def test_an_ignored_kind_is_not_told() -> None:
    rules = RULES.model_copy(update={"ignore": ("backlog",)})
    assert Listener().hears(0, BACKLOG, POISON, rules=rules) == ["new poison:bus:q"]


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(1, 30)), max_size=60))
def test_one_that_hears_late_hears_of_all_that_stands(ticks: list[tuple[bool, bool, int]]) -> None:
    """Whatever stands and whenever deliveries fail: after one that succeeds past the quiet time, all is told."""
    told: dict[str, Told] = {}
    now, heard = NOON, dict[str, str]()
    for stands, delivered, minutes in ticks:
        now += minutes * MINUTE
        alerts, after = plan_alerts([BACKLOG] if stands else [], told, rules=RULES, now=now)
        if delivered:
            told = after
            heard |= {alert.key: alert.state for alert in alerts}
    now += RULES.quiet
    alerts, _ = plan_alerts([BACKLOG], told, rules=RULES, now=now)
    heard |= {alert.key: alert.state for alert in alerts}
    assert heard["backlog:landsat"] != "resolved"


def alert(finding: AlertCondition, *, state: str = "new") -> Alert:
    told = Told(finding.kind, finding.title, finding.source, NOON - 90 * MINUTE, NOON, finding.version)
    return Alert(state, finding.key, told, None if state == "resolved" else finding)  # type: ignore[arg-type]


def test_a_message_says_what_where_how_many_and_what_to_do() -> None:
    message = Notification([alert(BACKLOG)], NOON, "https://dagster.example/")
    assert message.subject == "geo_assets: landsat: a blob has been waiting"
    for words in ("7 blobs are pending.", "Remedy: Look.", "https://dagster.example/assets/stac_items"):
        assert words in message.text
    (fields,) = message.as_json()["alerts"]
    assert (fields["state"], fields["kind"], fields["source"], fields["count"]) == ("new", "backlog", "landsat", 7)
    assert fields["url"] == "https://dagster.example/assets/stac_items"
    assert "http" not in Notification([alert(BACKLOG)], NOON).text


def test_an_end_says_how_long_it_was_and_many_alerts_are_counted() -> None:
    ended = alert(BACKLOG, state="resolved")
    assert Notification([ended], NOON).subject == "geo_assets: Resolved: landsat: a blob has been waiting"
    assert "It stood for 1 hour 30 minutes." in Notification([ended], NOON).text
    many = Notification([ended, *[alert(POISON, state="still")] * 30], NOON)
    assert many.subject == "geo_assets: 30 alerts, 1 resolved"
    assert f"And {31 - MOST_IN_A_MESSAGE} more: geo-assets alerts list" in many.text
    assert "First told 1 hour 30 minutes ago." in many.text
    assert len(many.as_json()["alerts"]) == 31


def test_a_name_in_a_chat_addresses_nobody() -> None:
    said = "<!channel> & <https://evil.example|click> [a](http://b.example) ![c](http://d.example) @here\nRemedy: none"
    message = Notification([alert(replace(BACKLOG, what=said, title=said))], NOON, "https://dagster.example")
    text = message.as_json()["text"]
    assert "&lt;!channel&gt; &amp; &lt;https:\u2060//evil.example|click&gt;" in text
    assert [word for word in text.split() if "://" in word] == ["https://dagster.example/assets/stac_items"]
    assert "](" not in text
    assert "![" not in text
    assert "@here" not in text
    for whole in (text, message.text, message.subject):
        assert "\nRemedy: none" not in whole
    assert message.as_json()["alerts"][0]["what"] == said, "for programs it is exact"
