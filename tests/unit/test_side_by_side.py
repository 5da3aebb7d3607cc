"""Looks at many sources in threads: in order, each within its time, and none in the way of another."""

import threading
import time

import pytest

from geo_assets.errors import StorageUnavailable
from geo_assets.sensors import blob as module
from geo_assets.sensors.blob import Look, LookClock, SideBySide, StillWaiting
from geo_assets.sources.source import CollectionRule, Source
from tests.waiting import wait_until


def source(name: str) -> Source:
    return Source(name=name, url="file:x", collection=CollectionRule(id="c", description="d"))


def in_a_minute() -> float:
    return time.monotonic() + 60


def test_each_source_has_what_its_look_gave_or_its_error() -> None:
    def begin(each: Source) -> Look[str] | None:
        def look(_: LookClock) -> str:
            if each.name == "bad":
                raise StorageUnavailable("away.")
            return each.name

        return None if each.name == "none" else look

    found = {
        each.name: str(seen)
        for each, seen in SideBySide().look([source("good"), source("none"), source("bad")], begin, end=in_a_minute())
    }
    assert found.keys() == {"good", "bad"}
    assert (found["good"], "away" in found["bad"]) == ("good", True)


def test_what_is_silent_takes_no_place_and_its_answer_is_taken_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 2)
    monkeypatch.setattr(module, "WAITS_AFTER_SECONDS", 0.1)
    monkeypatch.setattr(module, "LEFT_AFTER_SECONDS", 1.0)
    answers, begun = threading.Event(), list[str]()

    def begin(each: Source) -> Look[str]:
        def look(_: LookClock) -> str:
            begun.append(each.name)
            if each.name.startswith("dead"):
                assert answers.wait(60)
            return each.name

        return look

    dead = [source(f"dead{number}") for number in range(6)]
    looks, began = SideBySide(), time.monotonic()
    found = {each.name: seen for each, seen in looks.look([*dead, source("good")], begin, end=in_a_minute())}
    assert time.monotonic() - began < 10
    assert found.pop("good") == "good"
    assert [type(seen) for seen in found.values()] == [StillWaiting] * 6
    monkeypatch.setattr(module, "SILENT_AFTER_SECONDS", 1_000.0)
    assert {type(seen) for _, seen in looks.look(dead, begin, end=in_a_minute())} == {StillWaiting}
    monkeypatch.setattr(module, "SILENT_AFTER_SECONDS", 0.0)
    assert {type(seen) for _, seen in looks.look(dead, begin, end=in_a_minute())} == {StorageUnavailable}
    answers.set()
    wait_until(lambda: all(thread.name != "look" for thread in threading.enumerate()), "all have answered")
    assert [seen for _, seen in looks.look(dead, begin, end=in_a_minute())] == [each.name for each in dead]
    assert len(begun) == 7, "a look began while an earlier one was under way"


def test_what_a_look_saw_before_the_source_was_changed_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEFT_AFTER_SECONDS", 0.3)
    answer = threading.Event()

    def begin(each: Source) -> Look[str]:
        def look(_: LookClock) -> str:
            if each.url == "file:x":
                assert answer.wait(60)
            return each.url

        return look

    looks, before = SideBySide(), source("a")
    after = before.model_copy(update={"url": "file:y"})
    assert [type(seen) for _, seen in looks.look([before], begin, end=in_a_minute())] == [StillWaiting]
    assert [seen for _, seen in looks.look([after], begin, end=in_a_minute())] == ["file:y"]
    answer.set()


def test_a_look_that_shows_something_is_not_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEFT_AFTER_SECONDS", 0.6)

    def begin(_: Source) -> Look[str]:
        def look(pace: LookClock) -> str:
            for _ in range(20):
                time.sleep(0.1)
                pace.show()
            return "seen"

        return look

    assert [seen for _, seen in SideBySide().look([source("slow")], begin, end=in_a_minute())] == ["seen"]


def test_out_of_time_one_source_is_looked_at_and_the_rest_waits() -> None:
    sources = [source("a"), source("b")]
    found = SideBySide().look(sources, lambda each: lambda _: each.name, end=time.monotonic() - 1)
    assert [seen for _, seen in found] == ["a"]
