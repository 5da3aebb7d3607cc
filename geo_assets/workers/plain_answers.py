"""What a worker may answer: values and errors of known kinds, whatever its pickle asks for.

A file that takes its worker over could answer with a pickle that calls what it names in the process that reads it.
Here: what may be named, and connections that read in this way. Not here: the processes (`workers.pool`,
`enclosed_run`).
"""

import io
import pickle
import sys
from dataclasses import is_dataclass
from enum import Enum
from multiprocessing.connection import Connection
from multiprocessing.reduction import register
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
