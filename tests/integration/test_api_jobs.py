"""Jobs by the API on Dagster's own web server: submitted once, looked at, ended, retried, seen in Dagster.

One Dagster serves the module, for it takes its time to start; each test has a source of its own. It has no daemon,
whose sensors would do the jobs' work before them.
"""

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from dagster_graphql import DagsterGraphQLClient
from playwright.sync_api import Page, expect

from geo_assets.cli.local_services import end_group
from geo_assets.definitions import build_definitions
from geo_assets.postgres.embedded import EmbeddedPostgres
from tests.api_server import served, settings_of
from tests.dagster_cli import DagsterCli
from tests.pipeline import TEMPLATE, Pipeline, copied_database, open_pipeline
from tests.rasters import write_raster
from tests.services import PROJECT, free_port
from tests.waiting import wait_until

WHEN_READ = "SELECT name, described_at FROM ledger.raster_metadata WHERE name LIKE 'good%' ORDER BY name"
WORKSPACE = str(PROJECT / "workspace.yaml")


@dataclass(frozen=True)
class JobService:
    """The API with the Dagster it asks, and the pipeline that both work on."""

    client: httpx.Client
    dagster: str
    pipeline: Pipeline

    def submit(self, job_type: str, **parameters: Any) -> httpx.Response:
        """Submit as the old system's callers did."""
        return self.client.post(f"/api/jobs/submit/{job_type}", json=parameters)

    def job(self, job_id: str) -> dict[str, Any]:
        """How the job stands."""
        return self.get(f"/api/jobs/status/{job_id}")

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """What a GET answers, which is no error."""
        answer = self.client.get(path, params=query)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def wait_for(self, job_id: str, *states: str) -> dict[str, Any]:
        """The job as soon as it is in one of the states."""
        wait_until(lambda: self.job(job_id)["status"] in states, f"the job to be {states}")
        return self.job(job_id)


@contextmanager
def _ended(process: "subprocess.Popen[str]") -> Iterator[None]:
    try:
        yield
    finally:
        end_group(process)  # the server of the code, and runs, would outlive the web server


@pytest.fixture(scope="module")
def service(own_cluster: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobService]:
    """The API beside Dagster's web server, which has the code of this project and starts runs itself.

    One of its runs is `stac_setup`, which alters roles.
    """
    folder = tmp_path_factory.mktemp("jobs")
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with copied_database(own_cluster, TEMPLATE) as url, open_pipeline(url, folder) as pipeline:
        for name in ("mended", "missing"):
            pipeline.declare((folder / name).as_uri(), name=name)
        pipeline.declare((folder / "named").as_uri(), name="named", tables={})
        cli = DagsterCli(folder / "home", url, pipeline.sources_path, {"PYTHONWARNINGS": "ignore"}, is_queued=False)
        arguments = ("-w", WORKSPACE, "-h", "127.0.0.1", "-p", str(port))
        with (
            (folder / "dagster.log").open("w") as log,
            _ended(cli.popen(*arguments, program="dagster-webserver", stdout=log)),
            served(settings_of(url, pipeline.sources_path, dagster_server=address)) as client,
        ):
            wait_until(lambda: _answers(f"{address}/server_info"), "Dagster's web server")
            yield JobService(client, address, pipeline)


def _answers(address: str) -> bool:
    try:
        return httpx.get(address, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def _folder(service: JobService, name: str) -> Path:
    return service.pipeline.sources_path.parent / name


def test_a_job_is_submitted_once_told_file_by_file_and_its_retry_does_only_what_is_left(service: JobService) -> None:
    folder = _folder(service, "mended")
    for number in range(3):
        write_raster(folder / f"good_{number}.tif", value=number)
    (folder / "broken.tif").write_bytes(b"II*\0 and then nothing that a TIFF has")

    first = service.submit("ingest_rasters", source="mended")
    assert first.status_code == 202, first.text
    job_id = first.json()["job_id"]
    again = service.submit("ingest_rasters", source="mended")
    assert again.status_code == 200
    assert (again.json()["job_id"], again.json()["is_duplicate"]) == (job_id, True)
    assert again.json()["run_id"] == first.json()["run_id"]
    refused = service.client.post(f"/api/jobs/{job_id}/retry")
    assert refused.status_code == 409, "a job that is under way cannot be retried"

    done = service.wait_for(job_id, "completed", "failed")
    assert done["status"] == "completed"
    assert done["files"] == {"catalogued": 3, "quarantined": 1}
    stages = {stage["stage"]: stage["steps"] for stage in done["stages"]}
    assert stages.keys() >= {"container_listing", "stac_collections", "census"}, stages
    assert all(stage["completed"] == stage["steps"] for stage in done["stages"])
    assert service.submit("ingest_rasters", source="mended").json()["status"] == "completed", "and runs no second time"
    assert len(service.job(job_id)["run_ids"]) == 1
    other = service.submit("ingest_rasters", source="mended", label="another")
    assert (other.status_code, other.json()["job_id"] != job_id) == (202, True)
    service.wait_for(other.json()["job_id"], "completed")

    page = service.get(f"/api/db/tasks/{job_id}", every=True, limit=3)
    rest = service.get(f"/api/db/tasks/{job_id}", every=True, limit=3, after=page["next_after"])
    names = [task["task"] for task in page["tasks"] + rest["tasks"]]
    assert names == ["broken.tif", "good_0.tif", "good_1.tif", "good_2.tif"]
    assert rest["next_after"] is None
    bad = service.get(f"/api/db/tasks/{job_id}", every=True, state="quarantined")["tasks"]
    assert [(task["task"], task["etag"]) for task in bad] == [("broken.tif", bad[0]["etag"])]
    assert bad[0]["error_code"], bad
    assert bad[0]["error_message"], bad

    described = service.pipeline.query(WHEN_READ)
    write_raster(folder / "broken.tif", value=9)
    retried = service.client.post(f"/api/jobs/{job_id}/retry")
    assert retried.status_code == 202, retried.text
    assert retried.json()["run_id"] != first.json()["run_id"]
    mended = service.wait_for(job_id, "completed", "failed")
    assert mended["files"]["catalogued"] >= 1
    assert len(mended["run_ids"]) == 2
    assert len(service.pipeline.items("mended")) == 4
    assert service.pipeline.query(WHEN_READ) == described, "the files that were done are not read again"


def test_a_job_that_failed_says_why_and_is_started_anew_when_submitted_again(service: JobService) -> None:
    first = service.submit("ingest_rasters", source="missing").json()
    failed = service.wait_for(first["job_id"], "completed", "failed")
    assert failed["status"] == "failed"
    assert any("missing" in error["message"] for error in failed["errors"]), failed["errors"]
    write_raster(_folder(service, "missing") / "came.tif")
    second = service.submit("ingest_rasters", source="missing")
    assert (second.status_code, second.json()["job_id"]) == (202, first["job_id"])
    assert second.json()["run_id"] != first["run_id"]
    assert service.wait_for(first["job_id"], "completed", "failed")["status"] == "completed"


def test_a_job_under_way_is_ended_and_can_be_submitted_again(service: JobService) -> None:
    job_id = service.submit("hello_world", n=100).json()["job_id"]
    service.wait_for(job_id, "running", "completed", "failed")
    ending = service.client.post(f"/api/jobs/{job_id}/cancel")
    assert ending.status_code in (200, 202), ending.text
    assert service.wait_for(job_id, "canceled", "completed", "failed")["status"] == "canceled"
    again = service.client.post(f"/api/jobs/{job_id}/cancel")
    assert (again.status_code, again.json()["status"]) == (200, "canceled")
    anew = service.submit("hello_world", n=100)
    assert (anew.status_code, anew.json()["is_duplicate"]) == (202, False)
    starting = service.client.post(f"/api/jobs/{job_id}/cancel", timeout=60)
    assert starting.status_code in (200, 202), starting.text
    assert service.wait_for(job_id, "canceled", "completed", "failed")["status"] == "canceled"
    assert service.client.post(f"/api/jobs/{job_id}/retry").status_code == 202
    service.wait_for(job_id, "completed")


@pytest.fixture(scope="module")
def submitted(service: JobService) -> str:
    """The id of a job that was submitted and is done."""
    job_id: str = service.submit("hello_world", n=2).json()["job_id"]
    service.wait_for(job_id, "completed")
    return job_id


@pytest.mark.parametrize(
    ("status", "answer", "ends_as"),
    [
        (DagsterRunStatus.QUEUED, 202, {"canceling", "canceled"}),
        (DagsterRunStatus.NOT_STARTED, 200, {"canceled"}),
        (DagsterRunStatus.STARTING, 200, {"canceled"}),
        (DagsterRunStatus.STARTED, 202, {"canceling", "canceled"}),
        (DagsterRunStatus.CANCELING, 202, {"canceling"}),
        (DagsterRunStatus.CANCELED, 200, {"canceled"}),
        (DagsterRunStatus.SUCCESS, 200, {"completed"}),
        (DagsterRunStatus.FAILURE, 200, {"failed"}),
    ],
)
def test_a_job_is_canceled_in_whatever_state_its_run_is(
    service: JobService,
    submitted: str,
    status: DagsterRunStatus,
    answer: int,
    ends_as: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GEO_ASSETS_DATABASE_URL", service.pipeline.owner_url)
    hello = build_definitions(service.pipeline.resources()).resolve_job_def("hello_world")
    with DagsterInstance.from_config(str(service.pipeline.sources_path.parent / "home")) as instance:
        # Nothing works on it: as a run whose worker never begins, or is gone.
        tags = {"geo_assets/job_id": submitted}
        origin = instance.get_runs(RunsFilter(tags=tags))[0].remote_job_origin
        run_id = instance.create_run_for_job(hello, status=status, tags=tags, remote_job_origin=origin).run_id
    for expected in (answer, 200 if ends_as.isdisjoint({"canceling"}) else answer):
        got = service.client.post(f"/api/jobs/{submitted}/cancel", timeout=60)
        assert (got.status_code, got.json()["run_id"]) == (expected, run_id), got.text
        assert got.json()["status"] in ends_as
    assert service.job(submitted)["status"] in ends_as


def test_what_dagster_runs_is_seen_whoever_started_it(service: JobService) -> None:
    submitted = service.submit("hello_world", n=1).json()
    service.wait_for(submitted["job_id"], "completed")
    by_steps = service.get(f"/api/db/tasks/{submitted['job_id']}")
    assert by_steps["kind"] == "step"
    assert {task["state"] for task in by_steps["tasks"]} == {"completed"}
    port = int(service.dagster.rsplit(":", 1)[1])
    run_id = DagsterGraphQLClient("127.0.0.1", port_number=port).submit_job_execution("stac_setup")
    runs = {run["run_id"]: run for run in service.get("/api/jobs")["runs"]}
    assert runs[run_id]["job_type"] == "stac_setup"
    assert runs[run_id]["job_id"] is None
    assert runs[submitted["run_id"]]["job_id"] == submitted["job_id"]
    assert runs[submitted["run_id"]]["status"] == "completed"


def test_unknown_jobs_and_wrong_parameters_are_told_what_there_is(service: JobService) -> None:
    unknown = service.submit("make_coffee")
    assert unknown.status_code == 404
    assert "ingest_rasters" in unknown.json()["remedy"]
    wrong = service.submit("hello_world", n="many", milk=True)
    assert wrong.status_code == 400
    assert "n" in wrong.json()["detail"]
    assert "milk" in wrong.json()["detail"]
    nowhere = service.submit("ingest_rasters", source="nowhere")
    assert nowhere.status_code == 400
    assert "mended" in nowhere.json()["remedy"]
    assert service.client.get(f"/api/jobs/status/{'0' * 64}").status_code == 404


def test_without_dagster_a_submit_is_to_be_tried_again(service: JobService) -> None:
    settings = settings_of(
        service.pipeline.database_url, service.pipeline.sources_path, dagster_server=f"http://127.0.0.1:{free_port()}"
    )
    with served(settings) as client:
        answer = client.post("/api/jobs/submit/hello_world", json={"n": 7})
        assert answer.status_code == 503, answer.text
        assert answer.headers["retry-after"]
        assert answer.json()["code"] == "dagster_unavailable"
        assert client.get("/api/jobs").json()["runs"] is None
    assert service.client.post("/api/jobs/submit/hello_world", json={"n": 7}).status_code == 202, "it was not kept half"


def test_names_that_strangers_chose_have_dagsters_pages_ask_nobody(service: JobService, page: Page) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        image = f"![x]({address}/x.png)"
        point = {"type": "Point", "coordinates": [1, 2]}
        feature = {"type": "Feature", "geometry": point, "properties": {f"Width {image}": 1, f"<img src={address}>": 2}}
        layer = {"type": "FeatureCollection", "name": image, "features": [feature]}
        file = _folder(service, "named") / f"roads ![y]({address.replace('/', '%2F')}).geojson"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(layer))
        job = service.submit("load_vectors", source="named").json()
        assert service.wait_for(job["job_id"], "completed", "failed")["status"] == "completed"

        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{service.dagster}/assets/vector_tables?view=events&partition=named")
        expect(page.get_by_text("named materialized in run").first).to_be_visible()
        for written in (f"127.0.0.1:{listener.getsockname()[1]}/x.png", "<img src=http:"):
            expect(page.get_by_text(written).first).to_be_attached()
        page.wait_for_timeout(1_000)
        assert not [url for url in asked if url.startswith(address)]
        with pytest.raises(BlockingIOError):
            listener.accept()
