"""Dead letters by the command line, of a real Storage Queue and of the Service Bus peer."""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import yaml
from azure.servicebus import ServiceBusClient, ServiceBusMessage
from azure.storage.queue import QueueClient
from click.testing import CliRunner, Result

from geo_assets.cli.main import main
from geo_assets.events.observer import EventObserver
from geo_assets.resources.queues import MessageQueues
from geo_assets.resources.stores import BlobStores
from geo_assets.sources.rules import QueueRule
from tests.event_messages import blob_event
from tests.peers.flaky_proxy import FlakyProxy
from tests.peers.service_bus import ServiceBusPeer
from tests.pipeline import Pipeline
from tests.services import Azurite

LONG = "no JSON: " + "x" * 2000
CUT = base64.b64encode(b'{"eventType": "Microsoft.Stor').decode()


@dataclass
class Line:
    """A queue of sources.yaml with its other end, taken into the ledger of a pipeline."""

    pipeline: Pipeline
    rule: QueueRule
    send: Callable[[str], object]

    def take(self, *bodies: str) -> int:
        """Send these messages and take what the queue then has; how many were given up."""
        for body in bodies:
            self.send(body)
        with MessageQueues().open(self.rule) as queue:
            messages = queue.receive(100, wait=timedelta(seconds=2))
            observer = EventObserver(
                queue, self.rule, sources={}, blob_stores=BlobStores(), connections=self.pipeline.database.connections
            )
            return observer.take(messages).poisoned

    def states(self) -> list[str]:
        """The states of the ledger's messages, in order."""
        return [state for (state,) in self.pipeline.query("SELECT state FROM ledger.message ORDER BY id")]


@pytest.fixture(params=["storage_queue", "service_bus"])
def line(
    request: pytest.FixtureRequest,
    pipeline: Pipeline,
    queue_service: Azurite,
    event_queue: QueueClient,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Line]:
    """A queue called `arrivals`, of either kind."""
    rule = QueueRule.model_validate({"name": "arrivals", request.param: event_queue.queue_name})
    declared = {"sources": {}, "queues": {"arrivals": {request.param: event_queue.queue_name}}}
    pipeline.sources_path.write_text(yaml.safe_dump(declared))
    monkeypatch.setenv("GEO_ASSETS_DATABASE_URL", pipeline.database_url)
    monkeypatch.setenv("GEO_ASSETS_SOURCES", str(pipeline.sources_path))
    for name, value in queue_service.environment.items():
        monkeypatch.setenv(name, value)
    if request.param == "storage_queue":
        yield Line(pipeline, rule, event_queue.send_message)
        return
    with (
        ServiceBusPeer(rule.queue) as peer,
        ServiceBusClient.from_connection_string(peer.connection_string) as service_bus,
        service_bus.get_queue_sender(rule.queue) as sender,
    ):
        monkeypatch.setenv("AZURE_SERVICEBUS_CONNECTION_STRING", peer.connection_string)
        yield Line(pipeline, rule, lambda body: sender.send_messages(ServiceBusMessage(body, correlation_id="c-1")))


def run(*arguments: str, **options: Any) -> Result:
    return CliRunner().invoke(main, ["deadletters", *arguments], catch_exceptions=False, **options)


def printed(*arguments: str) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_list_and_show_have_the_message_and_why_it_was_given_up(line: Line) -> None:
    assert line.take(LONG, CUT) == 2
    letters = {letter["body"]: letter for letter in printed("list")}
    assert set(letters) == {LONG[:1000], '{"eventType": "Microsoft.Stor'}
    for letter in letters.values():
        assert (letter["queue"], letter["code"], letter["tries"]) == ("arrivals", "malformed_message", 1)
        assert letter["reason"]
        assert letter["seen_in_queue"]
        assert letter["correlation_id"] == ("c-1" if line.rule.service_bus else None)
    shown = run("show", letters[LONG[:1000]]["id"]).stdout
    assert "code: malformed_message" in shown
    assert LONG in shown
    assert printed("list", "--code", "storage_unavailable") == []
    assert "malformed_message" in run("list", "--queue", "arrivals").stdout


def test_a_queue_that_does_not_answer_hides_no_other(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one before it nor one behind it in sources.yaml."""
    assert line.take(LONG) == 1
    with FlakyProxy(1) as silent:
        silent.mode = "silent"
        dead = "service_bus" if line.rule.storage_queue else "storage_queue"
        bus = f"Endpoint=sb://127.0.0.1:{silent.port};SharedAccessKeyName=a;SharedAccessKey=a2V5;UseDevelopmentEmulator=true"
        if dead == "service_bus":
            monkeypatch.setenv("AZURE_SERVICEBUS_CONNECTION_STRING", bus)
        else:
            monkeypatch.setenv("AZURE_STORAGE_QUEUE_URL", f"http://127.0.0.1:{silent.port}/devstoreaccount1")
        declared = yaml.safe_load(line.pipeline.sources_path.read_text())
        queues = {"before": {dead: "dead-1"}, **declared["queues"], "behind": {dead: "dead-2"}}
        line.pipeline.sources_path.write_text(yaml.safe_dump({**declared, "queues": queues}))
        listed = run("list", "--json")
    assert listed.exit_code == 1
    assert [letter["body"] for letter in json.loads(listed.stdout)] == [LONG[:1000]]
    assert "dead-1" in listed.stderr
    assert "dead-2" in listed.stderr


def test_a_replayed_message_is_tried_again_and_given_up_again(line: Line) -> None:
    assert line.take(LONG, CUT) == 2
    first, second = (letter["id"] for letter in printed("list"))
    assert printed("replay", first) == {"replayed": 1, "missing": 0}
    assert sorted(line.states()) == ["dead_letter", "replayed"]
    assert [letter["id"] for letter in printed("list")] == [second]
    assert line.take() == 1
    assert len(printed("list")) == 2
    assert run("replay", first).exit_code == 1, "it has another id by now"


def test_of_an_array_only_the_entries_that_could_not_be_read_are_replayed(line: Line) -> None:
    events = [json.loads(blob_event("Created", "https://a.blob.core.windows.net/bronze", f"{n}.tif")) for n in range(3)]
    del events[1]["eventTime"]
    assert line.take(json.dumps(events)) == 1
    (letter,) = printed("list")
    assert letter["code"] == "malformed_message"
    assert "cannot be read: 1. The others were taken. [1].eventTime is missing." in letter["reason"]
    assert printed("replay", "--all") == {"replayed": 1, "missing": 0}
    with MessageQueues().open(line.rule) as queue:
        (again,) = queue.receive(10, wait=timedelta(seconds=2))
        assert json.loads(again.body) == [events[1]]
        queue.abandon(again)
    assert line.take() == 1
    (letter,) = printed("list")
    assert letter["reason"] == "[0].eventTime is missing."
    assert json.loads(letter["body"]) == [events[1]]


def test_all_are_replayed_page_by_page_and_none_twice(line: Line) -> None:
    several = 40 if line.rule.storage_queue else 5  # a Storage Queue shows 32
    bodies = [f"no JSON {number}" for number in range(several)]
    assert line.take(*bodies) == several
    assert printed("replay", "--all", "--code", "malformed_message") == {"replayed": several, "missing": 0}
    assert printed("list") == []
    assert set(line.states()) == {"replayed"}
    assert line.take() == several


def test_drop_asks_first_and_deletes_for_good(line: Line) -> None:
    assert line.take(LONG, CUT) == 2
    first, _ = (letter["id"] for letter in printed("list"))
    assert run("drop", first, input="n\n").exit_code == 1
    assert len(printed("list")) == 2
    assert run("drop", first, input="y\n").exit_code == 0
    assert len(printed("list")) == 1
    assert printed("drop", "--all", "--yes") == {"dropped": 1}
    assert printed("list") == []
    assert line.states() == ["dropped", "dropped"]
    assert line.take() == 0


def test_nothing_in_particular_and_what_is_not_there_are_refused(line: Line) -> None:
    assert run("replay").exit_code == 2
    assert run("drop", "--all", "some id").exit_code == 2
    for command in (("show", "no-such"), ("replay", "no-such"), ("drop", "no-such", "--yes")):
        result = run(*command)
        assert result.exit_code == 1
        assert "There is no dead letter no-such" in " ".join(result.stderr.split())
    assert "no queue 'nosuch'" in " ".join(run("list", "--queue", "nosuch").stderr.split())
