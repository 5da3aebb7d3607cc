"""failure_alert_sensor on real parts: runs, checks, a ledger, an HTTP server and an SMTP server on this machine."""

import json
import logging
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import stamina
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from click.testing import CliRunner
from dagster import AssetSelection, DagsterInstance, DagsterRunStatus, Definitions, define_asset_job
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import InProcessCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.test_utils import create_run_for_test
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._utils.error import serializable_error_info_from_exc_info
from pydantic import SecretStr

from geo_assets.alerts.alerts import Notification
from geo_assets.alerts.destinations import Webhook, open_destinations
from geo_assets.assets.census import census_checks
from geo_assets.cli.main import main
from geo_assets.definitions import build_definitions
from geo_assets.errors import AlertNotDelivered, GeoAssetsError
from geo_assets.sensors import blob, queues, receiving
from geo_assets.settings import Settings
from tests.certificates import write_certificate
from tests.daemon import Daemon
from tests.pipeline import SOURCE, Pipeline
from tests.services import AZURITE_ACCOUNT, free_port

PATH, PASSWORD = "/services/T0/secret-path", "secret-password"


@dataclass
class Hook:
    """An HTTP server that takes webhooks and answers ``status``."""

    status: int = 200
    bodies: list[dict[str, Any]] = field(default_factory=list)
    requests: int = 0
    url: str = ""

    def states(self) -> list[str]:
        """What was told since the last call."""
        told = [f"{alert['state']} {alert['key']}" for body in self.bodies for alert in body["alerts"]]
        self.bodies.clear()
        return sorted(told)


@pytest.fixture
def hook() -> Iterator[Hook]:
    taken = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.requests += 1
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if taken.status == 200 and self.path == PATH:
                taken.bodies.append(body)
            self.send_response(taken.status if self.path == PATH else 404)
            self.send_header("Location", PATH)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        taken.url = f"http://127.0.0.1:{server.server_port}{PATH}"
        yield taken
        server.shutdown()
        thread.join()


@dataclass
class Mailbox:
    """An SMTP server that asks for STARTTLS and a login, and keeps what it gets."""

    mails: list[bytes] = field(default_factory=list)
    port: int = 0

    async def handle_DATA(self, *received: Any) -> str:  # noqa: N802
        self.mails.append(received[-1].content)
        return "250 OK"

    def subjects(self) -> list[str]:
        """Of what came since the last call."""
        subjects = [message_from_bytes(mail, policy=policy.default)["Subject"] for mail in self.mails]
        self.mails.clear()
        return subjects


@pytest.fixture
def mailbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    """The mailbox, as the environment of this process names it."""
    certificate = write_certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    box = Mailbox(port=free_port())

    def log_in(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword) -> AuthResult:
        known = (data.login, data.password) == (b"geo", PASSWORD.encode())
        return AuthResult(success=known, handled=False)

    controller = Controller(
        box,
        hostname="127.0.0.1",
        port=box.port,
        tls_context=context,
        require_starttls=True,
        authenticator=log_in,
        auth_required=True,
    )
    controller.start()
    for name, value in {
        "GEO_ASSETS_ALERT_EMAIL": "ops@example.org, data@example.org",
        "GEO_ASSETS_SMTP_HOST": "127.0.0.1",
        "GEO_ASSETS_SMTP_PORT": str(box.port),
        "GEO_ASSETS_SMTP_USER": "geo",
        "GEO_ASSETS_SMTP_PASSWORD": PASSWORD,
        "SSL_CERT_FILE": str(certificate),
    }.items():
        monkeypatch.setenv(name, value)
    yield box
    controller.stop()


@pytest.fixture(autouse=True)
def _no_waits() -> Iterator[None]:
    """Try as often as ever, but without a pause."""
    stamina.set_testing(True, attempts=3)
    yield
    stamina.set_testing(False)


@pytest.fixture
def daemon(pipeline: Pipeline, folder: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """The sensor over a source of three rasters, with one webhook, and no pause between two alerts."""
    monkeypatch.setenv("GEO_ASSETS_ALERT_WEBHOOKS", hook.url)
    monkeypatch.setenv("GEO_ASSETS_DAGSTER_URL", "https://dagster.example")
    pipeline.sources_path.write_text(pipeline.sources_path.read_text() + "alerts: {quiet: 0s}\n")
    return Daemon(pipeline, "failure_alert_sensor")


def away(folder: Path) -> Path:
    return folder.rename(folder.with_name("away"))


def test_a_failed_run_is_told_once_to_each_and_its_end_too(
    pipeline: Pipeline, folder: Path, daemon: Daemon, hook: Hook, mailbox: Mailbox
) -> None:
    gone = away(folder)
    run_id = pipeline.run("list_container").run_id
    daemon.tick()
    (body,) = hook.bodies
    assert hook.states() == ["new failed_run:list_container:rasters"]
    for words in ("is not a folder", "Remedy: ", f"https://dagster.example/runs/{run_id}"):
        assert words in body["text"]
    (alert,) = body["alerts"]
    assert (alert["source"], alert["run_id"], alert["count"]) == (SOURCE, run_id, 1)
    mail = message_from_bytes(mailbox.mails[0], policy=policy.default)
    assert mail["To"] == "ops@example.org, data@example.org"
    assert run_id in mail.get_body().get_content()  # type: ignore[union-attr]
    assert mailbox.subjects() == ["geo_assets: rasters: list_container failed"]
    assert pipeline.run("list_container").run_id != run_id
    daemon.tick()
    gone.rename(folder)
    assert hook.states() == mailbox.subjects() == []
    assert pipeline.run("list_container").success
    daemon.tick()
    daemon.tick()
    assert hook.states() == ["resolved failed_run:list_container:rasters"]
    (subject,) = mailbox.subjects()
    assert subject.startswith("geo_assets: Resolved: rasters: list_container failed")


def test_a_destination_that_is_down_stops_no_other_and_hears_it_later(
    pipeline: Pipeline,
    folder: Path,
    daemon: Daemon,
    hook: Hook,
    mailbox: Mailbox,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    away(folder)
    pipeline.run("list_container")
    hook.status = 503
    first = daemon.tick()
    assert mailbox.subjects() == ["geo_assets: rasters: list_container failed"]
    assert hook.requests == 3
    assert "webhook 1 answers 503" in str(first.skip_message)
    hook.status = 200
    daemon.tick()
    assert hook.states() == ["new failed_run:list_container:rasters"]
    assert mailbox.subjects() == []
    shown = " ".join([str(first), str(daemon.cursor), caplog.text, *capfd.readouterr()])
    assert "list_container failed" in shown
    assert PATH not in shown
    assert PASSWORD not in shown


def test_a_run_that_lost_its_worker_is_told(pipeline: Pipeline, folder: Path, daemon: Daemon, hook: Hook) -> None:
    tags = {"dagster/partition": SOURCE}
    run = create_run_for_test(pipeline.instance, job_name="ingest_rasters", status=DagsterRunStatus.STARTED, tags=tags)
    Daemon(pipeline).tick()
    daemon.tick()
    assert f"Run {run.run_id}: " in hook.bodies[0]["text"]
    assert "The run's worker is gone" in hook.bodies[0]["text"]
    assert hook.states() == ["new failed_run:ingest_rasters:rasters"]


def test_a_sensor_that_fails_is_told(
    pipeline: Pipeline, folder: Path, daemon: Daemon, hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blob, "FIRST_PAUSE", timedelta(0))
    away(folder)
    pipeline.instance = DagsterInstance.local_temp(str(tmp_path))  # the other keeps no ticks
    record_tick(pipeline.instance, "blob_sensor", Daemon(pipeline).tick)
    daemon.tick()
    assert "blob_sensor fails" in hook.bodies[0]["text"]
    assert "is not a folder" in hook.bodies[0]["text"]
    assert hook.states() == ["new failed_tick:blob_sensor"]
    folder.with_name("away").rename(folder)
    record_tick(pipeline.instance, "blob_sensor", Daemon(pipeline).tick)
    daemon.tick()
    assert hook.states() == ["resolved failed_tick:blob_sensor"]


def test_a_source_that_cannot_be_listed_is_told_the_third_time_and_when_it_can(
    pipeline: Pipeline, folder: Path, daemon: Daemon, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blob, "FIRST_PAUSE", timedelta(0))
    pipeline.declare((folder.parent / "nosuch").as_uri(), name="second")
    watching = Daemon(pipeline)
    for _ in range(3):
        daemon.tick()
        assert hook.bodies == []
        watching.tick()
    daemon.tick()
    assert "second cannot be listed" in hook.bodies[0]["text"]
    assert "is not a folder" in hook.bodies[0]["text"]
    assert hook.states() == ["new unreachable:source:second"]
    (folder.parent / "nosuch").mkdir()
    watching.tick()
    daemon.tick()
    assert hook.states() == ["resolved unreachable:source:second"]


def test_a_queue_that_is_away_is_told_though_no_tick_fails(
    pipeline: Pipeline, folder: Path, daemon: Daemon, hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "TICK_SECONDS", 0.5)
    free = free_port()
    monkeypatch.setenv("AZURE_STORAGE_QUEUE_URL", f"http://127.0.0.1:{free}/{AZURITE_ACCOUNT}")
    monkeypatch.setenv("AZURE_STORAGE_KEY", "a2V5")
    pipeline.sources_path.write_text(
        pipeline.sources_path.read_text() + "queues:\n  arrivals: {storage_queue: no-such-queue}\n"
    )
    pipeline.instance = DagsterInstance.local_temp(str(tmp_path))  # the other keeps no ticks
    watching = Daemon(pipeline, "storage_queue_sensor")
    for longest_pause in (timedelta(minutes=1), timedelta(0)):
        assert hook.bodies == []
        monkeypatch.setattr(receiving, "LONGEST_PAUSE", longest_pause)
        record_tick(pipeline.instance, "storage_queue_sensor", watching.tick, cursor=lambda: watching.cursor)
        daemon.tick()
        time.sleep(1.1)  # the first pause
    (body,) = hook.bodies
    assert "no messages can be received from queue arrivals" in body["text"]
    assert str(free) in body["text"]
    assert hook.states() == ["new unreachable:queue:arrivals"]


def record_tick(
    instance: DagsterInstance,
    sensor: str,
    tick: Callable[[], object],
    cursor: Callable[[], str | None] = lambda: None,
) -> None:
    """Evaluate a tick and record how it ended, as Dagster's daemon does."""
    origin = RemoteInstigatorOrigin(
        repository_origin=RemoteRepositoryOrigin(
            InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="geo_assets.definitions")), "__repository__"
        ),
        instigator_name=sensor,
    )
    state = InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.DECLARED_IN_CODE)
    if not instance.all_instigator_state(instigator_type=InstigatorType.SENSOR):
        instance.add_instigator_state(state)
    status, error = TickStatus.SKIPPED, None
    try:
        tick()
    except GeoAssetsError:
        status, error = TickStatus.FAILURE, serializable_error_info_from_exc_info(sys.exc_info())
    instance.update_instigator_state(state.with_data(SensorInstigatorData(cursor=cursor())))
    instance.create_tick(
        TickData(
            instigator_origin_id=state.instigator_origin_id,
            instigator_name=sensor,
            instigator_type=InstigatorType.SENSOR,
            status=status,
            timestamp=time.time(),
            selector_id=state.selector_id,
            error=error,
        )
    )


def test_what_the_ledger_knows_is_told_and_ends(pipeline: Pipeline, daemon: Daemon, hook: Hook) -> None:
    assert pipeline.run("list_container").success
    daemon.tick()
    assert hook.states() == []
    pipeline.execute("UPDATE ledger.blob SET etag_seen_at = etag_seen_at - interval '2 hours'")
    pipeline.execute("UPDATE ledger.source SET updated_at = updated_at - interval '2 hours'")
    give_up(pipeline, "m1")
    daemon.tick()
    assert "3 blobs are pending" in hook.bodies[0]["text"]
    assert "events: 1 message was dead-lettered" in hook.bodies[0]["text"]
    assert "(correlation id c1): malformed_message: no JSON" in hook.bodies[0]["text"]
    assert "geo-assets deadletters list" in hook.bodies[0]["text"]
    assert hook.states() == ["new backlog:rasters", "new poison:service_bus:events"]
    give_up(pipeline, "m2")
    daemon.tick()
    assert hook.states() == ["news poison:service_bus:events"]
    pipeline.execute("UPDATE ledger.message SET state = 'dropped'")
    # The items of gone blobs, of which a run let none go.
    pipeline.execute("INSERT INTO ledger.item SELECT 'rasters', name, source, name FROM ledger.blob")
    pipeline.execute("UPDATE ledger.blob SET deleted_at = now(), deletion_held = true WHERE name <> 'scene_0.tif'")
    daemon.tick()
    assert "2 of 3 items (67%) would be removed" in hook.bodies[0]["text"]
    assert hook.states() == ["new deletions_held:rasters", "resolved poison:service_bus:events"]
    assert pipeline.database.deletions.consent(SOURCE) == 2
    pipeline.execute("UPDATE ledger.blob SET etag_seen_at = now()")
    pipeline.execute("UPDATE ledger.source SET updated_at = now()")
    daemon.tick()
    assert hook.states() == ["resolved backlog:rasters", "resolved deletions_held:rasters"]


def give_up(pipeline: Pipeline, message_id: str) -> None:
    pipeline.execute(
        "INSERT INTO ledger.message (path, queue, message_id, correlation_id, delivery_count, error_code, "
        "error_message, body_start, state) "
        f"VALUES ('service_bus', 'events', '{message_id}', 'c1', 1, 'malformed_message', 'no JSON', '?', 'dead_letter')"
    )


def test_a_census_that_fails_is_told_until_a_later_one_passes(pipeline: Pipeline, daemon: Daemon, hook: Hook) -> None:
    assert pipeline.run("list_container").success
    pipeline.execute(
        "UPDATE ledger.blob AS b SET described_etag = etag, described_reading = s.reading_digest, "
        "catalogued_etag = etag, catalogued_rule = s.rule_digest FROM ledger.source AS s WHERE s.source = b.source"
    )
    run_checks(pipeline)
    daemon.tick()
    assert "blobs_have_items (3)" in hook.bodies[0]["text"]
    assert "geo-assets repair rasters" in hook.bodies[0]["text"]
    assert hook.states() == ["new census:rasters"]
    pipeline.execute("UPDATE ledger.blob SET deleted_at = now()")
    run_checks(pipeline)
    daemon.tick()
    assert hook.states() == ["resolved census:rasters"]


def run_checks(pipeline: Pipeline) -> None:
    """Run the checks of the catalogue's items, and no asset."""
    checks = define_asset_job("checks", AssetSelection.checks(*census_checks.check_keys))
    definitions = Definitions.merge(build_definitions(pipeline.resources()), Definitions(jobs=[checks]))
    job = definitions.resolve_job_def("checks")
    assert job.execute_in_process(instance=pipeline.instance, tags={"dagster/partition": SOURCE}).success


def test_what_cannot_be_asked_is_told_and_ends_nothing(
    pipeline: Pipeline, folder: Path, daemon: Daemon, hook: Hook
) -> None:
    give_up(pipeline, "m1")
    daemon.tick()
    assert hook.states() == ["new poison:service_bus:events"]
    right, url = pipeline.sources_path.read_text(), pipeline.database_url
    pipeline.sources_path.write_text("alerts: {backlog: often}")
    daemon.tick()
    assert "alerts.backlog" in hook.bodies[0]["text"]
    assert hook.states() == ["new not_observed:sources.yaml"]
    pipeline.sources_path.write_text(right)
    pipeline.database_url = "postgresql://me@127.0.0.1:1/none"
    daemon.tick()
    assert hook.states() == ["new not_observed:the ledger", "resolved not_observed:sources.yaml"]
    pipeline.database_url = url
    daemon.tick()
    assert hook.states() == ["resolved not_observed:the ledger"]


def test_without_destinations_the_log_is_told_and_a_strange_cursor_is_no_error(
    pipeline: Pipeline, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    give_up(pipeline, "m1")
    daemon = Daemon(pipeline, "failure_alert_sensor")
    daemon.cursor = '{"log": 7}'
    said = str(daemon.tick().skip_message)
    assert said == "1 troubles stand; 1 to log"
    assert list(json.loads(str(daemon.cursor))) == ["log"]


MESSAGE = Notification([], datetime.now(UTC))


@pytest.mark.parametrize(
    ("status", "said", "requests"),
    [(500, "answers 500", 3), (429, "answers 429", 3), (403, "answers 403", 1), (302, "answers 302", 1)],
)
def test_an_answer_that_is_no_success_is_an_error_and_no_redirect_is_followed(
    hook: Hook, status: int, said: str, requests: int
) -> None:
    hook.status = status
    with pytest.raises(AlertNotDelivered, match=said):
        Webhook("webhook 1", SecretStr(hook.url)).deliver(MESSAGE)
    assert hook.requests == requests


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/secret", "http://127.0.0.1:secret/", "file:///secret", "secret"])
def test_an_address_that_does_not_work_is_not_quoted(url: str) -> None:
    with pytest.raises(AlertNotDelivered, match="webhook 1") as caught:
        Webhook("webhook 1", SecretStr(url)).deliver(MESSAGE)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"GEO_ASSETS_SMTP_PASSWORD": "wrong-secret"}, "answers 535"),
        ({"SSL_CERT_FILE": ""}, "self-signed certificate"),
        ({"GEO_ASSETS_SMTP_SECURITY": "none"}, "in the clear"),
        ({"GEO_ASSETS_SMTP_SECURITY": "tls"}, "cannot be used"),
        ({"GEO_ASSETS_SMTP_PORT": "1"}, "cannot be used: ConnectionRefusedError"),
    ],
)
def test_an_email_that_is_not_sent_says_why_without_the_password(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    (_, email) = open_destinations(Settings(), logging.getLogger())
    with pytest.raises(AlertNotDelivered, match=said) as caught:
        email.deliver(MESSAGE)
    assert "secret" not in str(caught.value)
    assert mailbox.mails == []


def test_the_command_line_tries_every_destination_and_lists_what_stands(
    pipeline: Pipeline,
    folder: Path,
    hook: Hook,
    mailbox: Mailbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GEO_ASSETS_ALERT_WEBHOOKS", f"{hook.url} http://127.0.0.1:1/secret")
    monkeypatch.setenv("GEO_ASSETS_DATABASE_URL", pipeline.database_url)
    monkeypatch.setenv("GEO_ASSETS_SOURCES", str(pipeline.sources_path))
    monkeypatch.setenv("GEO_ASSETS_STATE", str(tmp_path / "state"))
    tried = CliRunner().invoke(main, ["alerts", "test", "--json"], catch_exceptions=False)
    assert tried.exit_code == 1
    assert [each["destination"] for each in json.loads(tried.stdout) if each["error"]] == ["webhook 2"]
    assert "secret" not in tried.output
    assert hook.states() == ["new test"]
    assert mailbox.subjects() == ["geo_assets: a test: nothing is wrong"]
    assert "There are no alerts." in CliRunner().invoke(main, ["alerts", "list"], catch_exceptions=False).stdout
    give_up(pipeline, "m1")
    listed = CliRunner().invoke(main, ["alerts", "list", "--json"], catch_exceptions=False)
    assert [finding["key"] for finding in json.loads(listed.stdout)] == ["poison:service_bus:events"]
