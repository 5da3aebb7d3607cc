"""The table of faults: what was done to geo_assets, how often, what was lost, and how long it took to be true again.

Here: taking down what the tests saw, and the table in docs/faults.md. As a program it writes that table:
`python -m tests.faults.fault_record RECORDS docs/faults.md`.
"""

import json
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.faults.verdict import Verdict

VARIABLE = "GEO_ASSETS_FAULT_RECORDS"
"""Names the file that records go to, a line of JSON each; without it none are written."""
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"


@dataclass(frozen=True)
class FaultRun:
    """One run of a fault: how many blobs it concerned, and what was found when all had settled."""

    group: str
    fault: str
    blobs: int
    lost: int
    false: int
    duplicated: int
    unexplained: int
    seconds: float


class Converging:
    """Times from the end of a fault until all is true again; see `fault`."""

    def __init__(self, group: str, name: str) -> None:
        self._group, self._name = group, name
        self._began = time.monotonic()

    def over(self) -> None:
        """The fault is over: what takes time from now on is convergence."""
        self._began = time.monotonic()

    def judged(self, verdict: Verdict, *, blobs: int) -> None:
        """Take down the verdict, and fail where the promise is broken."""
        run = FaultRun(
            self._group,
            self._name,
            blobs,
            len(verdict.lost),
            len(verdict.false),
            len(verdict.duplicated),
            len(verdict.unexplained),
            round(time.monotonic() - self._began, 2),
        )
        if path := _RECORDS.get("path"):
            with Path(path).open("a") as file:
                file.write(json.dumps(asdict(run)) + "\n")
        assert verdict, verdict


_RECORDS: dict[str, str] = {}


def keep_records(path: str) -> None:
    """Where records go in this process, whatever a test does to the environment."""
    _RECORDS["path"] = path


@contextmanager
def fault(group: str, name: str) -> Iterator[Converging]:
    """A fault under test, by its row in the table; the block says when it is over, and what was found."""
    yield Converging(group, name)


def render(runs: list[FaultRun]) -> str:
    """The table in Markdown: a row a fault."""
    head = [
        "| fault | runs | blobs | lost | duplicated | false | unexplained | converged in, s (median, longest) |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    lines: list[str] = []
    for group in dict.fromkeys(run.group for run in runs):
        lines.append(f"| **{group}** | | | | | | | |")
        here = [run for run in runs if run.group == group]
        for name in dict.fromkeys(run.fault for run in here):
            of_name = [run for run in here if run.fault == name]
            seconds = [run.seconds for run in of_name]
            counts = [
                sum(getattr(run, count) for run in of_name)
                for count in ("blobs", "lost", "duplicated", "false", "unexplained")
            ]
            cells = [name, len(of_name), *counts, f"{statistics.median(seconds):.1f}, {max(seconds):.1f}"]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join([*head, *lines])


def write_table(records: Path, page: Path) -> None:
    """Put the table between the page's marks."""
    runs = [FaultRun(**json.loads(line)) for line in records.read_text().splitlines()]
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{render(runs)}\n{END}{after}")


if __name__ == "__main__":
    write_table(Path(sys.argv[1]), Path(sys.argv[2]))
