"""The embedded PostgreSQL cluster, on real servers: starting, crashing, sharing and removing it."""

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from geo_assets.errors import DatabaseUnavailable
from geo_assets.postgres import programs as postgres_programs
from geo_assets.postgres.embedded import EmbeddedPostgres, find_postgres
from tests.services import PROJECT, own_environment

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder every user may enter; pytest's own is for its owner alone."""
    folder = Path(tempfile.mkdtemp(prefix="geo_assets_test_", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def cluster(open_folder: Path) -> Iterator[EmbeddedPostgres]:
    """A cluster that is not made yet."""
    cluster = EmbeddedPostgres(open_folder / "state", durable=False)
    yield cluster
    cluster.destroy()


@pytest.fixture(scope="module")
def made_state() -> Iterator[Path]:
    """The state folder of a cluster that was made and started once: to copy, since making one takes seconds."""
    with tempfile.TemporaryDirectory(prefix="geo_assets_test_", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        cluster = EmbeddedPostgres(Path(folder) / "state", durable=False)
        try:
            cluster.start()
            cluster.stop()
            yield cluster.state_folder
        finally:
            cluster.destroy()


@pytest.fixture
def made_cluster(cluster: EmbeddedPostgres, made_state: Path) -> EmbeddedPostgres:
    """A cluster that is made, and not running."""
    subprocess.run(["cp", "-a", str(made_state), str(cluster.state_folder)], check=True)
    return cluster


def answer(url: str, query: str = "SELECT 42") -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def postmaster_pid(cluster: EmbeddedPostgres) -> int:
    return int((cluster.state_folder / "postgres/data/postmaster.pid").read_text().splitlines()[0])


def test_a_started_cluster_answers_over_tcp_and_over_its_socket(cluster: EmbeddedPostgres) -> None:
    assert cluster.start()
    cluster.ensure_databases("geo_assets", "dagster")
    assert answer(cluster.url("geo_assets")) == 42
    assert answer(cluster.socket_url("dagster")) == 42


def test_the_server_listens_on_this_machine_only_and_in_utc(made_cluster: EmbeddedPostgres) -> None:
    made_cluster.start()
    assert answer(made_cluster.url("postgres"), "SHOW listen_addresses") == "127.0.0.1"
    assert answer(made_cluster.url("postgres"), "SHOW timezone") == "UTC"
    assert answer(made_cluster.url("postgres"), "SHOW server_encoding") == "UTF8"


def test_postgis_and_what_pgstac_needs_can_be_created(made_cluster: EmbeddedPostgres) -> None:
    made_cluster.start()
    for extension in postgres_programs.REQUIRED_EXTENSIONS:
        with psycopg.connect(made_cluster.url("postgres")) as connection:
            connection.execute(f"CREATE EXTENSION {extension}")


def test_a_second_start_does_nothing(made_cluster: EmbeddedPostgres) -> None:
    made_cluster.start()
    pid = postmaster_pid(made_cluster)
    assert not made_cluster.start()
    assert postmaster_pid(made_cluster) == pid


def test_stopping_twice_is_harmless(made_cluster: EmbeddedPostgres) -> None:
    made_cluster.start()
    assert made_cluster.stop()
    assert not made_cluster.stop()
    assert not made_cluster.is_running()


def test_data_and_port_survive_a_restart(made_cluster: EmbeddedPostgres) -> None:
    made_cluster.start()
    with psycopg.connect(made_cluster.url("postgres")) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS value")
    before = made_cluster.url("postgres")
    made_cluster.stop()
    made_cluster.start()
    assert made_cluster.url("postgres") == before
    assert answer(before, "SELECT value FROM kept") == 7


def test_a_port_taken_meanwhile_is_replaced(made_cluster: EmbeddedPostgres) -> None:
    made_cluster.start()
    port = psycopg.conninfo.conninfo_to_dict(made_cluster.url("postgres"))["port"]
    made_cluster.stop()
    taker = subprocess.Popen(
        [sys.executable, "-c", f"import socket,time; s=socket.create_server(('127.0.0.1',{port})); time.sleep(60)"]
    )
    try:
        time.sleep(0.5)
        made_cluster.start()
        assert psycopg.conninfo.conninfo_to_dict(made_cluster.url("postgres"))["port"] != port
        assert answer(made_cluster.url("postgres")) == 42
    finally:
        taker.terminate()
        taker.wait()


def test_a_killed_server_starts_again(made_cluster: EmbeddedPostgres) -> None:
    made_cluster.start()
    os.kill(postmaster_pid(made_cluster), signal.SIGKILL)
    deadline = time.monotonic() + 10
    while made_cluster.is_running() and time.monotonic() < deadline:
        time.sleep(0.05)
    with pytest.raises(DatabaseUnavailable):
        made_cluster.url("postgres")
    assert made_cluster.start()
    assert answer(made_cluster.url("postgres")) == 42


def test_a_pid_file_with_the_number_of_another_process_does_not_stop_the_start(made_cluster: EmbeddedPostgres) -> None:
    made_cluster.start()
    pid_file = made_cluster.state_folder / "postgres/data/postmaster.pid"
    content = pid_file.read_text()
    owner = pid_file.stat()
    made_cluster.stop()
    # A process of the server's own user: PostgreSQL takes any other number for dead.
    other = subprocess.Popen(["sleep", "60"], user=owner.st_uid)
    try:
        pid_file.write_text(content.replace(content.split("\n")[0], str(other.pid), 1))
        os.chown(pid_file, owner.st_uid, owner.st_gid)
        assert not made_cluster.is_running()
        assert not made_cluster.stop()
        assert made_cluster.start()
        assert other.poll() is None
    finally:
        other.terminate()
        other.wait()


def test_two_starters_at_once_start_one_server(cluster: EmbeddedPostgres) -> None:
    clusters = [EmbeddedPostgres(cluster.state_folder, durable=False) for _ in range(2)]
    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(EmbeddedPostgres.start, clusters)) == [False, True]


def test_two_processes_at_once_start_one_server(cluster: EmbeddedPostgres) -> None:
    script = "import sys; from pathlib import Path; from geo_assets.postgres.embedded import EmbeddedPostgres as E\n"
    script += "print(E(Path(sys.argv[1]), durable=False).start())"
    command = [sys.executable, "-c", script, str(cluster.state_folder)]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT) for _ in range(2)]
    assert sorted(child.communicate()[0].strip() for child in children) == ["False", "True"]


def test_running_stops_only_what_it_started(made_cluster: EmbeddedPostgres) -> None:
    with made_cluster.running():
        with made_cluster.running():
            assert made_cluster.is_running()
        assert made_cluster.is_running()
    assert not made_cluster.is_running()


def test_a_server_that_does_not_run_has_no_url(cluster: EmbeddedPostgres) -> None:
    with pytest.raises(DatabaseUnavailable, match="geo-assets db start"):
        cluster.url("geo_assets")


def test_a_failed_start_shows_the_end_of_the_log(made_cluster: EmbeddedPostgres) -> None:
    made_cluster.start()
    made_cluster.stop()
    with (made_cluster.state_folder / "postgres/data/postgresql.conf").open("a") as file:
        file.write("no_such_setting = 1\n")
    with pytest.raises(DatabaseUnavailable, match="no_such_setting"):
        made_cluster.start()


def test_data_of_a_version_that_is_gone_say_so(made_cluster: EmbeddedPostgres) -> None:
    made_cluster.start()
    made_cluster.stop()
    (made_cluster.state_folder / "postgres/data/PG_VERSION").write_text("9\n")
    with pytest.raises(DatabaseUnavailable, match=r"PostgreSQL 9, which is not installed.*make clean"):
        made_cluster.start()


def test_a_machine_without_postgres_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_programs, "LAYOUTS", ())
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DatabaseUnavailable, match="make setup"):
        find_postgres()


def test_the_password_is_for_its_owner_alone_and_needed(cluster: EmbeddedPostgres) -> None:
    cluster.start()
    password_file = cluster.state_folder / "postgres.password"
    assert stat.S_IMODE(password_file.stat().st_mode) == 0o600
    for url in (cluster.url("postgres"), cluster.socket_url("postgres")):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(url.replace(password_file.read_text(), "guessed"))


def test_a_path_too_long_for_a_socket_and_with_blanks_works(open_folder: Path) -> None:
    cluster = EmbeddedPostgres(open_folder / ("a long name's " * 10) / "state", durable=False)
    try:
        cluster.start()
        url = cluster.socket_url("postgres")
        sockets = Path(str(psycopg.conninfo.conninfo_to_dict(url)["host"]))
        assert open_folder not in sockets.parents
        assert answer(url) == 42
    finally:
        cluster.destroy()
    assert not sockets.exists()


def test_destroy_removes_the_cluster_while_it_runs(cluster: EmbeddedPostgres) -> None:
    cluster.start()
    cluster.destroy()
    assert not cluster.is_running()
    assert not (cluster.state_folder / "postgres").exists()
    assert cluster.start()


@as_root
def test_root_has_an_ordinary_user_run_the_server(cluster: EmbeddedPostgres) -> None:
    cluster.start()
    assert Path(f"/proc/{postmaster_pid(cluster)}").stat().st_uid != 0
    assert not (cluster.state_folder / "postgres").is_symlink()


@as_root
def test_below_a_folder_of_root_alone_the_data_lie_elsewhere(open_folder: Path) -> None:
    open_folder.chmod(0o700)
    cluster = EmbeddedPostgres(open_folder / "state", durable=False)
    try:
        cluster.start()
        elsewhere = (cluster.state_folder / "postgres").resolve()
        assert open_folder not in elsewhere.parents
        assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o700
        assert answer(cluster.url("postgres")) == 42
    finally:
        cluster.destroy()
    assert not elsewhere.exists()


@as_root
def test_data_elsewhere_whose_state_folder_was_deleted_are_made_anew(open_folder: Path) -> None:
    open_folder.chmod(0o700)
    cluster = EmbeddedPostgres(open_folder / "state", durable=False)
    try:
        cluster.start()
        shutil.rmtree(cluster.state_folder)
        assert cluster.start()
        assert answer(cluster.url("postgres")) == 42
    finally:
        cluster.destroy()


@as_root
def test_a_folder_of_somebody_else_is_refused(open_folder: Path) -> None:
    open_folder.chmod(0o700)
    cluster = EmbeddedPostgres(open_folder / "state", durable=False)
    cluster.folder_outside.mkdir(mode=0o700)
    os.chown(cluster.folder_outside, 12345, 12345)
    try:
        with pytest.raises(DatabaseUnavailable, match="not a private folder"):
            cluster.start()
        assert cluster.folder_outside.exists()
    finally:
        cluster.folder_outside.rmdir()


@as_root
def test_an_ordinary_user_runs_a_cluster_of_their_own(open_folder: Path) -> None:
    # The interpreter and the checkout may lie where that user may not go: a fork has them open already.
    nobody = pwd.getpwnam("nobody")
    home = open_folder / "home"
    home.mkdir(mode=0o700)
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(nobody.pw_gid)
            os.setuid(nobody.pw_uid)
            os.environ.clear()
            os.environ.update(own_environment(HOME=str(home), PATH=os.defpath))
            cluster = EmbeddedPostgres(home / "state", durable=False)
            with cluster.running():
                status = 0 if answer(cluster.socket_url("postgres")) == answer(cluster.url("postgres")) else 2
            cluster.destroy()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
