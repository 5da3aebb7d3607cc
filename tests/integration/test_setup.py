"""The files of the set-up: what is pinned, and that no variable is left undocumented."""

import json
import re
from pathlib import Path

import pytest

from geo_assets.settings import Settings
from tests.services import PROJECT

VARIABLES = sorted(str(field.alias) for field in Settings.model_fields.values())


def test_constraints_are_a_name_and_a_version_each() -> None:
    lines = (PROJECT / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!_-]+", line)] == []
    assert len(lines) > 100


@pytest.mark.parametrize("variable", VARIABLES)
def test_each_variable_stands_in_the_example_below_a_comment(variable: str) -> None:
    text = (PROJECT / ".env.example").read_text()
    assert re.search(rf"^# .+\n(?:[A-Z_]+=\n)*{variable}=$", text, re.MULTILINE)


def test_the_example_names_no_variable_that_is_not_read() -> None:
    named = re.findall(r"^([A-Z_]+)=", (PROJECT / ".env.example").read_text(), re.MULTILINE)
    assert sorted(named) == VARIABLES


def test_the_example_as_it_is_changes_no_setting(tmp_path: Path) -> None:
    example = tmp_path / ".env"
    example.write_text((PROJECT / ".env.example").read_text())
    assert Settings(_env_file=example) == Settings(_env_file=None)


def test_azurite_is_pinned_to_one_version() -> None:
    package = json.loads((PROJECT / "package.json").read_text())
    assert package["private"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", package["devDependencies"]["azurite"])


def test_the_makefile_explains_each_of_its_commands() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert phony
    for target in phony[1].split():
        assert re.search(rf"^{target}:.* ## .+", makefile, re.MULTILINE)
