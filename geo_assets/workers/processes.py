"""Processes that know nothing of the one that wants them, and whose answers are values and errors of known kinds.

Here: the server they are forked from, which starts with a clean environment, which variables it gets, and
multiprocessing's context over it; what an answer may name, and connections that read in this way. A file that takes its
worker over could answer with a pickle that calls what it names in the process that reads it. Not here: what the
processes do (`workers.pool`), and what they may reach (`enclosure`). Dagster's own multiprocessing is not touched.
"""

import fcntl
import io
import multiprocessing
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import is_dataclass
from enum import Enum
from functools import cache, partial
from multiprocessing import connection, forkserver, popen_forkserver, resource_tracker, spawn, util
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.reduction import dump, register, sendfds
from typing import Any

from pydantic import BaseModel

_OWN, _POOLS = "geo_assets.", "pebble."
_PLAIN = frozenset(
    (
        ("builtins", "set"), ("builtins", "frozenset"), ("builtins", "bytearray"), ("builtins", "complex"),
        ("collections", "Counter"), ("collections", "OrderedDict"),
        ("datetime", "date"), ("datetime", "datetime"), ("datetime", "time"), ("datetime", "timedelta"),
        ("datetime", "timezone"), ("decimal", "Decimal"),
        ("pathlib", "Path"), ("pathlib", "PosixPath"), ("pathlib", "PurePosixPath"),
        ("pebble.common.types", "RemoteException.rebuild_exception"),
    )
)  # fmt: skip


class _Answers(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """A class that holds values, or that of an error; nothing is imported. Raises UnpicklingError for all else."""
        if (module, name) in _PLAIN:
            return super().find_class(module, name)
        found = getattr(sys.modules.get(module), name, None)
        if isinstance(found, type) and found.__module__ == module and _holds_values(found, module):
            return found
        raise pickle.UnpicklingError(f"{module}.{name} is nothing that an answer may hold")


def _holds_values(found: type, module: str) -> bool:
    if issubclass(found, BaseException):
        return True
    return module.startswith((_OWN, _POOLS)) and (is_dataclass(found) or issubclass(found, (Enum, BaseModel)))


def read_answer(content: bytes) -> Any:
    """What ``content`` holds. Raises UnpicklingError where it names anything but values and errors."""
    return _Answers(io.BytesIO(content)).load()


class AnswerReader(Connection):
    """The end of a pipe that reads answers; handed to a worker it is an end like others, for orders are trusted."""

    def recv(self) -> Any:
        """The next answer. Raises EOFError, and OSError where it is none, by which pebble knows a broken pool."""
        content = self.recv_bytes()
        try:
            return read_answer(content)
        except Exception as error:
            raise OSError(f"A worker answered with something else: {str(error)[:200]}.") from error

    @classmethod
    def of(cls, reader: "Connection[Any, Any]") -> "AnswerReader":
        """The same end; ``reader`` is closed by this one alone."""
        made = cls(reader.fileno(), writable=False)
        reader._handle = None  # type: ignore[attr-defined]
        return made


def _as_reader_of_orders(answers: AnswerReader) -> tuple[Any, ...]:
    from multiprocessing.connection import rebuild_connection  # type: ignore[attr-defined]
    from multiprocessing.reduction import DupFd

    return rebuild_connection, (DupFd(answers.fileno()), answers.readable, answers.writable)


register(AnswerReader, _as_reader_of_orders)


# What Python, C libraries and the readers' libraries go by. A name that is not here is not handed over.
_KEPT = re.compile(
    r"PATH|HOME|USER|LANG|LANGUAGE|LC_\w+|TZ|TZDIR|TMPDIR|TEMP|TMP|LD_LIBRARY_PATH|LD_PRELOAD|PYTHON\w*"
    r"|(OPENBLAS|OMP|MKL|GOTO|NUMEXPR|MALLOC|ARROW)_\w+|GLIBC_TUNABLES"
    r"|PROJ_DATA|PROJ_LIB|GDAL_DATA|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE"
)
_SECRET = re.compile("KEY|SECRET|TOKEN|PASSW|CREDENTIAL", re.IGNORECASE)
# Of what multiprocessing tells a new process: the rest would have it run the main program again, or know its arguments.
_TOLD = ("name", "authkey", "sys_path", "dir", "orig_dir")
_SECONDS_TO_END = 5


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that a worker may know; threads of OpenBLAS are none of them: what forks has one thread."""
    kept = {name: value for name, value in environment.items() if _KEPT.fullmatch(name) and not _SECRET.search(name)}
    return {"OPENBLAS_NUM_THREADS": "1", **kept}


class CleanContext(ForkServerContext):
    """multiprocessing's context of this name, with a server of its own that has imported the modules ``preloaded``."""

    def __init__(self, *preloaded: str) -> None:
        super().__init__()
        self._preloaded = preloaded
        self.Process = partial(CleanProcess, preloaded=preloaded)  # type: ignore[assignment, misc]

    def Pipe(self, duplex: bool = True) -> Any:  # noqa: N802  multiprocessing's name
        """A pipe; the reading end of one that leads one way reads answers of workers as `AnswerReader` does."""
        reader, writer = super().Pipe(duplex)
        return (reader if duplex else AnswerReader.of(reader)), writer

    def start_server(self) -> None:
        """Have the server import its modules, which takes seconds; returns at once."""
        _server(self._preloaded).ensure_running()


class CleanProcess(ForkServerProcess):
    """A process forked from the server that has imported ``preloaded``."""

    def __init__(self, *arguments: Any, preloaded: tuple[str, ...], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.preloaded = preloaded

    @staticmethod
    def _Popen(process: Any) -> Any:  # noqa: N802  multiprocessing's name
        return _Popen(process)


class _Server:
    """Runs `multiprocessing.forkserver.main`, as the standard library does, but with an environment that is given."""

    def __init__(self, preloaded: Sequence[str]) -> None:
        self._preloaded = list(preloaded)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._address: Any = None
        self._alive = -1

    def ensure_running(self) -> None:
        """Start the server, where it does not run; returns before it has imported anything."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                return
            if self._process is not None:
                os.close(self._alive)
            self._start()

    def connect(self, descriptors: Sequence[int]) -> tuple[int, int]:
        """Have a process forked that gets ``descriptors``: where its number and status come from, and its orders go."""
        self.ensure_running()
        tracker = resource_tracker.getfd()
        assert tracker is not None
        status, status_of_child = os.pipe()
        orders_of_child, orders = os.pipe()
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(self._address)
                sendfds(client, [orders_of_child, status_of_child, self._alive, tracker, *descriptors])
        except BaseException:
            os.close(status)
            os.close(orders)
            raise
        finally:
            os.close(orders_of_child)
            os.close(status_of_child)
        return status, orders

    def _start(self) -> None:
        resource_tracker.ensure_running()
        with socket.socket(socket.AF_UNIX) as listener:
            self._address = connection.arbitrary_address("AF_UNIX")  # type: ignore[attr-defined]
            listener.bind(self._address)
            if not util.is_abstract_socket_namespace(self._address):
                os.chmod(self._address, 0o600)
            listener.listen()
            # It ends when the last process that holds the other end of this pipe has ended.
            until, self._alive = os.pipe()
            path = spawn.get_preparation_data("ignore")["sys_path"]
            code = f"import sys; sys.path[:] = {path!r}; from multiprocessing.forkserver import main; "
            code += f"main({listener.fileno()}, {until}, {self._preloaded!r})"
            try:
                self._process = subprocess.Popen(
                    [sys.executable, *util._args_from_interpreter_flags(), "-c", code],  # type: ignore[attr-defined]
                    env=clean_environment(os.environ),
                    pass_fds=(listener.fileno(), until),
                )
            finally:
                os.close(until)
        util.Finalize(self, self._end, exitpriority=5)

    def _end(self) -> None:
        """When this process ends, and its workers before it."""
        if self._process is not None and self._process.poll() is None:
            os.close(self._alive)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_SECONDS_TO_END)
            self._process = None


@cache
def _server(preloaded: tuple[str, ...]) -> _Server:
    return _Server(preloaded)


class _Popen(popen_forkserver.Popen):
    """A process being started: told no more than it needs."""

    def _launch(self, process: Any) -> None:
        told = {name: fact for name, fact in spawn.get_preparation_data(process._name).items() if name in _TOLD}
        orders = io.BytesIO()
        multiprocessing.context.set_spawning_popen(self)
        try:
            dump(told, orders)
            dump(process, orders)
        finally:
            multiprocessing.context.set_spawning_popen(None)
        self.sentinel, end = _server(process.preloaded).connect(self._fds)  # type: ignore[attr-defined]
        # The other end of what the process takes for a sign that this one lives.
        self.finalizer = util.Finalize(self, util.close_fds, (os.dup(end), self.sentinel))  # type: ignore[attr-defined]
        with open(end, "wb") as file:
            file.write(orders.getbuffer())
        self.pid = forkserver.read_signed(self.sentinel)


def die_with_parent() -> None:
    """In such a process: be killed by the kernel when the process that wanted it is gone, whatever this one does."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    fcntl.fcntl(parent.sentinel, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(parent.sentinel, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(parent.sentinel, fcntl.F_SETFL, fcntl.fcntl(parent.sentinel, fcntl.F_GETFL) | os.O_ASYNC)
