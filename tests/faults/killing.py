"""kill -9 at a named moment: a program of geo_assets in a process that kills itself before or after a call.

Here: the moment, and starting such a process. Not here: what the processes do, and what must hold afterwards.

As a program: `python -m tests.faults.killing MOMENT MODULE ARGUMENTS...` runs a module as `python -m` does, and the
process ends by SIGKILL at the moment. The code that is killed knows nothing of it.
"""

import functools
import importlib
import os
import runpy
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Moment:
    """Before or after the ``number``-th call of ``function``, a dotted name as in `module:Class.method`."""

    when: str
    function: str
    number: int = 1

    def __post_init__(self) -> None:
        if self.when not in ("before", "after"):
            raise ValueError(f"a moment is before or after a call, not {self.when!r}")

    def __str__(self) -> str:
        return f"{self.when} {self.function} {self.number}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The moment that `str` wrote."""
        when, function, number = text.split()
        return cls(when, function, int(number))

    def find(self) -> tuple[Any, str, Any]:
        """What has the function, its name there and itself. Raises AttributeError where there is no such function."""
        module, _, path = self.function.partition(":")
        *owners, name = path.split(".")
        owner = functools.reduce(getattr, owners, importlib.import_module(module))
        function = getattr(owner, name)
        return owner, name, vars(owner).get(name, function) if isinstance(owner, type) else function

    def arm(self) -> None:
        """Have this process killed at the moment. Raises AttributeError where there is no such function."""
        owner, name, raw = self.find()
        wrapper = type(raw) if isinstance(raw, staticmethod | classmethod) else None
        armed = self._killing(raw.__func__ if wrapper else raw)
        setattr(owner, name, wrapper(armed) if wrapper else armed)

    def _killing(self, function: Callable[..., Any]) -> Callable[..., Any]:
        calls = 0

        @functools.wraps(function)
        def armed(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            due = calls == self.number
            if due and self.when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*args, **kwargs)
            if due:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return armed


if __name__ == "__main__":
    _, moment, program, *arguments = sys.argv
    Moment.parse(moment).arm()
    sys.argv = [program, *arguments]
    runpy.run_module(program, run_name="__main__", alter_sys=True)
