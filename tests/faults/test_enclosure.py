"""What a worker process can reach: its own folder, its store's port and the libraries, and nothing else."""

import ctypes
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from geo_assets.errors import GeoAssetsError, ReaderCrashed, ReaderTimeout, TooLarge, WorkersUnavailable
from geo_assets.workers import enclosure as enclosure_module
from geo_assets.workers.enclosure import Enclosure, Kernel, enter, this_kernel, warn_of_gaps
from geo_assets.workers.pool import Limits, WorkerPool, run_enclosed

pytestmark = pytest.mark.attack

LIMITS = Limits(wall_seconds=20, cpu_seconds=10, memory_bytes=1024**3)
needs_landlock = pytest.mark.skipif(this_kernel().landlock < 1, reason="this kernel has no Landlock")
needs_ports = pytest.mark.skipif(this_kernel().landlock < 4, reason="this kernel's Landlock has no ports")
needs_filter = pytest.mark.skipif(not this_kernel().filters_calls, reason="this kernel filters no calls")


def enclosed(function: Callable[[Any], Any], argument: Any = None, *, limits: Limits = LIMITS, **reach: Any) -> Any:
    """The function in a process that reaches ``reach`` only."""
    return run_enclosed(function, argument, limits=limits, enclosure=Enclosure(**reach), variables={})


def outcome(attempt: Callable[[], object]) -> str:
    """ "done", or the name of the error."""
    try:
        attempt()
    except OSError as error:
        return type(error).__name__
    return "done"


def try_files(folder: Path) -> dict[str, str]:
    """What comes of reading and writing here and there."""
    neighbour = folder.parent / "neighbour"
    attempts: dict[str, Callable[[], object]] = {
        "own file": (folder / "a.txt").read_bytes,
        "own folder": lambda: os.listdir(folder),
        "own file, written": lambda: (folder / "b.txt").write_text("b"),
        "own link that leads out": (folder / "link").read_bytes,
        "neighbour": (neighbour / "secret").read_bytes,
        "neighbour by ..": Path(f"{folder}/../neighbour/secret").read_bytes,
        "neighbour by /proc": Path(f"/proc/self/root{neighbour}/secret").read_bytes,
        "neighbour, listed": lambda: os.listdir(neighbour),
        "neighbour, written": lambda: (neighbour / "new").write_text("x"),
        "neighbour, removed": (neighbour / "secret").unlink,
        "neighbour, linked": lambda: os.link(neighbour / "secret", folder / "stolen"),
        "neighbour, moved": lambda: (neighbour / "secret").rename(folder / "stolen"),
        "/etc/passwd": Path("/etc/passwd").read_bytes,
        "root": lambda: os.listdir("/"),
        "home": lambda: os.listdir(Path.home()),
        "parent's environment": Path(f"/proc/{os.getppid()}/environ").read_bytes,
        "/tmp": lambda: Path("/tmp/enclosure-was-here").write_text("x"),
        "library": Path(os.__file__).read_bytes,
        "library, written": lambda: os.open(os.__file__, os.O_WRONLY),
        "/dev/null": lambda: Path("/dev/null").write_text("x"),
    }
    return {name: outcome(attempt) for name, attempt in attempts.items()}


@needs_landlock
def test_files_elsewhere_are_refused_and_its_own_are_not(tmp_path: Path) -> None:
    (folder := tmp_path / "own").mkdir()
    (folder / "a.txt").write_text("a")
    (tmp_path / "neighbour").mkdir()
    (tmp_path / "neighbour" / "secret").write_text("s")
    (folder / "link").symlink_to(tmp_path / "neighbour" / "secret")
    writing = {"own file", "own folder", "own file, written", "library", "/dev/null"}
    outcomes = enclosed(try_files, folder, writable=(folder,))
    assert {name for name, result in outcomes.items() if result == "done"} == writing
    outcomes = enclosed(try_files, folder, readable=(folder,))
    assert {name for name, result in outcomes.items() if result == "done"} == writing - {"own file, written"}
    assert sorted(each.name for each in (tmp_path / "neighbour").iterdir()) == ["secret"]


def try_the_rest(port: int) -> dict[str, str]:
    """What comes of sockets, programs, other processes, and files changed by their path."""
    address = ("127.0.0.1", port)
    tcp, udp = (socket.AF_INET, socket.SOCK_STREAM), (socket.AF_INET, socket.SOCK_DGRAM)
    attempts: dict[str, Callable[[], object]] = {
        "connect": lambda: socket.socket(*tcp).connect(address),
        "fast open": lambda: socket.socket(*tcp).sendto(b"x", 0x20000000, address),
        "multipath": lambda: socket.socket(*tcp, 262).connect(address),
        "udp": lambda: socket.socket(*udp).sendto(b"x", address),
        "local socket": lambda: socket.socket(socket.AF_UNIX),
        "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
        "raw": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1),
        "server": lambda: socket.create_server(("127.0.0.1", 0)),
        "program": lambda: subprocess.run([sys.executable, "-c", ""], check=True),
        "program in place": lambda: os.execv(sys.executable, [sys.executable, "-c", ""]),
        "fork": lambda: os.fork() or os._exit(0),
        "signal to the parent": lambda: os.kill(os.getppid(), 0),
        "signal to all": lambda: os.kill(-1, 0),
        "chmod": lambda: os.chmod("/tmp", 0o1777),
        "chown": lambda: os.chown("/tmp", 0, 0),
        "utime": lambda: os.utime("/tmp"),
        "mount": lambda: _system_call(165, None, b"/tmp", b"tmpfs", 0, None),
        "ptrace": lambda: _system_call(101, 16, os.getppid(), None, None),
        "unshare": lambda: _system_call(272, 0x10000000),
        "thread": lambda: _in_a_thread(lambda: None),
    }
    return {name: outcome(attempt) for name, attempt in attempts.items()} | {
        "a thread's connect": _in_a_thread(lambda: socket.socket(*tcp).connect(address))
    }


def _system_call(number: int, *arguments: object) -> None:
    if ctypes.CDLL(None, use_errno=True).syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")


def _in_a_thread(attempt: Callable[[], object]) -> str:
    outcomes: list[str] = []
    thread = threading.Thread(target=lambda: outcomes.append(outcome(attempt)))
    thread.start()
    thread.join()
    return outcomes[0]


@needs_filter
def test_without_a_port_there_is_no_socket_and_no_program(port: int) -> None:
    outcomes = enclosed(try_the_rest, port)
    assert {name for name, result in outcomes.items() if result == "done"} == {"thread"}
    assert set(outcomes.values()) == {"done", "PermissionError"}


@needs_ports
@needs_filter
def test_with_a_port_that_port_only_is_connected_to(port: int) -> None:
    outcomes = enclosed(try_the_rest, port, ports=(port,))
    assert {name for name, result in outcomes.items() if result == "done"} == {
        "connect",
        "a thread's connect",
        "thread",
    }
    assert enclosed(try_the_rest, port, ports=(port + 1,))["connect"] == "PermissionError"


@needs_filter
def test_looking_names_up_takes_udp(port: int) -> None:
    assert enclosed(try_the_rest, port, ports=(443,), names=True)["udp"] == "done"


def crash(_: object) -> None:
    """End as GDAL ends on a hostile file."""
    ctypes.string_at(0)


def hang(_: object) -> None:
    """Wait for ever."""
    time.sleep(1000)


def hang_without_a_clock(_: object) -> None:
    """Stop one's own clock, and wait for ever."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    time.sleep(1000)


def spin(_: object) -> None:
    """Compute for ever."""
    while True:
        pass


def bloat(_: object) -> None:
    """Take more memory than is allowed."""
    bytearray(8 * 1024**3)


def answer_too_much(_: object) -> bytes:
    """A result that would fill the memory of who asked."""
    return bytes(65 * 1024**2)


def fail(message: object) -> None:
    """Raise what a reader raises."""
    raise TooLarge(str(message))


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (crash, ReaderCrashed),
        (hang, ReaderTimeout),
        (spin, ReaderTimeout),
        (bloat, TooLarge),
        (answer_too_much, TooLarge),
        (fail, TooLarge),
    ],
)
def test_what_crashes_hangs_or_bloats_ends_with_its_reason(
    function: Callable[[object], object], error: type[GeoAssetsError]
) -> None:
    with pytest.raises(error):
        enclosed(function, limits=Limits(wall_seconds=1, cpu_seconds=1, memory_bytes=1024**3))


def test_who_stops_its_clock_is_ended_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geo_assets.workers.pool.OVERDUE_SECONDS", 0.5)
    with pytest.raises(ReaderTimeout):
        enclosed(hang_without_a_clock, limits=Limits(wall_seconds=0.5))


def say_and_hang(path: Path) -> None:
    """Write one's number to the file, and wait for ever."""
    path.write_text(str(os.getpid()))
    time.sleep(1000)


def run_and_wait(path: Path) -> None:
    """What the process of a run does while its worker hangs."""
    enclosed(say_and_hang, path, writable=(path.parent,), limits=Limits(wall_seconds=100))


def test_the_worker_of_a_killed_run_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    code = f"from pathlib import Path; from {__name__} import run_and_wait; run_and_wait(Path({str(path)!r}))"
    with subprocess.Popen([sys.executable, "-c", code]) as run:
        worker = _wait_for(lambda: path.exists() and path.read_text())
        run.kill()
    _wait_for(lambda: not _is_alive(int(worker)))


def _wait_for(condition: Callable[[], Any]) -> Any:
    until = time.monotonic() + 20
    while not (result := condition()):
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.05)
    return result


def _is_alive(pid: int) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def bindings(_: object) -> list[str]:
    """What of GDAL is loaded before the function asks for it."""
    return sorted({name.split(".")[0] for name in sys.modules} & {"fiona", "osgeo", "pyogrio", "rasterio"})


def drivers(wanted: set[str]) -> set[str]:
    """Those of GDAL's drivers for vectors that are there."""
    import pyogrio

    return wanted & set(pyogrio.list_drivers())


def test_gdal_sees_the_variables() -> None:
    wanted = {"KML", "LIBKML", "GeoJSON", "GPKG"}

    def found(variables: dict[str, str]) -> set[str]:
        return run_enclosed(drivers, wanted, limits=LIMITS, enclosure=Enclosure(), variables=variables)

    assert enclosed(bindings) == []
    assert found({}) >= {"GeoJSON", "GPKG"}
    assert found({"OGR_SKIP": "KML,LIBKML,GPKG"}) == {"GeoJSON"}


def own_environment(_: object) -> str:
    """What the kernel and Python know of this process's variables."""
    return Path("/proc/self/environ").read_text() + str(os.environ)


def test_no_secret_of_the_parent_is_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own, whose server starts after the variables were set."""
    monkeypatch.setenv("GEO_ASSETS_DATABASE_URL", "postgresql://geo:planted-url@host/db")
    monkeypatch.setenv("AZURE_STORAGE_KEY", "planted-key")
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "planted-client")
    monkeypatch.setenv("PGPASSWORD", "planted-password")
    monkeypatch.setenv("PYTHON_API_TOKEN", "planted-token")
    monkeypatch.setenv("TZ", "Europe/Vienna")
    code = f"from {__name__} import *; print(enclosed(own_environment))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "Europe/Vienna" in said
    assert "planted" not in said
    assert os.environ["AZURE_STORAGE_KEY"] == "planted-key"


def enter_beside_a_thread(_: object) -> str:
    """Try to enter once more, while another thread runs."""
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        enter(Enclosure())
    except RuntimeError as error:
        return str(error)
    finally:
        over.set()
    return "entered"


@needs_landlock
def test_a_process_that_has_threads_does_not_enter() -> None:
    assert "2 threads run already" in enclosed(enter_beside_a_thread)


def enter_what_is_left(kernel: Kernel) -> dict[str, str]:
    """Enter, on a kernel that can no more than ``kernel``, and try."""
    enter(Enclosure(), kernel)
    return {
        "socket": outcome(lambda: socket.socket(socket.AF_INET)),
        "file": outcome(Path("/etc/passwd").read_bytes),
    }


def enter_each(kernels: Sequence[Kernel]) -> None:
    """Do so in a process of its own for each, of which none was enclosed before; prints what is left."""
    for kernel in kernels:
        if os.fork() == 0:
            print(enter_what_is_left(kernel), flush=True)  # noqa: T201
            os._exit(0)
        os.wait()


@needs_landlock
@needs_filter
def test_what_an_older_kernel_can_hold_is_held() -> None:
    versions = [Kernel(version, False) for version in range(1, this_kernel().landlock + 1)]
    kernels = [Kernel(0, False), Kernel(0, True), *versions]
    code = f"from {__name__} import *; enter_each({kernels!r})"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert said == [
        "{'socket': 'done', 'file': 'done'}",
        "{'socket': 'PermissionError', 'file': 'done'}",
        *len(versions) * ["{'socket': 'done', 'file': 'PermissionError'}"],
    ]


def test_what_the_kernel_cannot_hold_is_said_once() -> None:
    enclosure_module.warn_once.cache_clear()
    reach = Enclosure(ports=(443,), names=True)
    with capture_logs() as logs:
        for _ in range(3):
            warn_of_gaps(reach, Kernel(0, False))
            warn_of_gaps(reach, Kernel(2, True))
            warn_of_gaps(reach, Kernel(7, True))
    enclosure_module.warn_once.cache_clear()
    assert [log["gap"] for log in logs] == [
        "In worker processes files elsewhere can be read and written: this kernel cannot refuse it.",
        "In worker processes any TCP port can be connected to: this kernel cannot refuse it.",
        "In worker processes sockets can be opened and programs started: this kernel cannot refuse it.",
    ]


class Attack:
    """A value whose pickle has whoever reads it call something."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def answer_with_attack(path: Path) -> None:
    """What code that took the worker over can do: write what it likes to the pipe that leads to the run."""
    for number in range(3, 100):
        with suppress(OSError):
            connection = Connection(number, readable=False)
            connection.send_bytes(pickle.dumps((True, Attack(path))))
    os._exit(0)


def work_with_attack(tasks: Sequence[Path], start: Callable[[int], None]) -> list[object]:
    """The same as the result of a task."""
    start(0)
    return [Attack(path) for path in tasks]


def test_an_answer_that_calls_something_is_not_followed(tmp_path: Path) -> None:
    prey = tmp_path / "made by the answer"
    with pytest.raises(ReaderCrashed, match="answered with something else"):
        enclosed(answer_with_attack, prey, limits=Limits(wall_seconds=5))
    pool = WorkerPool(processes=1, limits=Limits(wall_seconds=5))
    with closing(pool), pytest.raises(WorkersUnavailable):
        list(pool.map(work_with_attack, [prey], chunk_size=1, lost=lambda *_: None))
    assert not prey.exists()
