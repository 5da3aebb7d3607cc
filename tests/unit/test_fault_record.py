"""The table of faults and the kill at a moment: what the fault suite stands on."""

import json
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.faults import test_kills_of_cogs, test_kills_of_events, test_kills_of_repair, test_kills_of_runs
from tests.faults.fault_record import BEGIN, END, FaultRun, render, write_table
from tests.faults.killing import Moment
from tests.faults.verdict import Verdict
from tests.services import PROJECT


def test_the_table_adds_up_the_runs_of_a_fault() -> None:
    runs = [
        FaultRun("Kill -9", "after receive", 40, 0, 0, 0, 0, 2.0),
        FaultRun("Kill -9", "after receive", 40, 1, 0, 2, 0, 4.0),
        FaultRun("Outages", "queue", 10, 0, 0, 0, 0, 1.0),
    ]
    rows = render(runs).splitlines()
    assert "| after receive | 2 | 80 | 1 | 2 | 0 | 0 | 3.0, 4.0 |" in rows
    assert rows[2].startswith("| **Kill -9** |")
    assert rows[4].startswith("| **Outages** |")


def test_the_table_goes_between_the_marks_of_the_page(tmp_path: Path) -> None:
    page, records = tmp_path / "page.md", tmp_path / "records"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    records.write_text(json.dumps(asdict(FaultRun("g", "f", 1, 0, 0, 0, 0, 1.0))) + "\n")
    write_table(records, page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "| f | 1 | 1 |" in text
    assert "old" not in text


def test_a_verdict_is_false_where_anything_is_wrong() -> None:
    assert Verdict()
    assert not Verdict(lost=["a"])
    assert not Verdict(unexplained=["1 message"])


@pytest.mark.parametrize(("when", "words"), [("before", ["one"]), ("after", ["one", "two"])])
def test_a_process_is_killed_before_or_after_the_call_it_names(tmp_path: Path, when: str, words: list[str]) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import json\n"
        "class Word:\n"
        "    def __init__(self, word): self.word = word\n"
        "def write(word): print(word.word, flush=True)\n"
        "for word in ('one', 'two', 'three'): json.dumps(Word(word), default=write)\n"
    )
    command = [sys.executable, "-m", "tests.faults.killing", f"{when} json:dumps 2", "program"]
    paths = {"PYTHONPATH": f"{PROJECT}:{tmp_path}"}
    ended = subprocess.run(command, cwd=PROJECT, env=paths, capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout.split() == words


def test_each_moment_of_the_fault_suite_is_one_of_a_function_that_exists() -> None:
    """Most of these kills run in `make soak` only, which would be late to say so."""
    of_events = [moment for _, _, moment in test_kills_of_events.moments()]
    others = [*test_kills_of_cogs.MOMENTS.values(), *test_kills_of_repair.MOMENTS.values()]
    of_runs = [*test_kills_of_runs.LISTED.values(), *test_kills_of_runs.TOLD.values()]
    assert [str(moment) for moment in (*of_events, *others, *of_runs) if not callable(moment.find()[2])] == []


def test_a_moment_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(AttributeError):
        Moment("before", "platform:no_such").arm()
    assert Moment.parse(str(Moment("after", "a:b.c", 3))) == Moment("after", "a:b.c", 3)
