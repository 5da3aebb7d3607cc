"""Schemathesis as a program that asks an API all that its OpenAPI description allows, and much that it does not.

Here: the program. It runs with .venv/checkers first on PYTHONPATH, where scripts/setup.sh puts it: it wants another
version of jsonschema-rs than we do. Not here: the API that is asked (`tests.integration.test_api_conformance`).

Argument: the address of the description. It fails at the first 5xx but the 503 that says that Dagster does not answer.
"""

import sys

import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

EXAMPLES = 25
ALL = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


def ask(case: schemathesis.Case) -> None:
    """Ask it. Raises AssertionError where the server fails."""
    answer = case.call()
    if answer.status_code >= 500:
        code = answer.json()["code"]
        assert (answer.status_code, code) == (503, "dagster_unavailable"), f"{case.as_curl_command()}\n{answer.text}"


if __name__ == "__main__":
    description = schemathesis.openapi.from_url(sys.argv[1])
    names = []
    for found in description.get_all_operations():
        operation = found.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                ALL(given(case=operation.as_strategy(generation_mode=mode))(ask))()
            except Unsatisfiable:  # of what takes no parameter, none is wrong
                assert mode is GenerationMode.NEGATIVE, operation.label
        names.append(operation.label)
    sys.stdout.write("\n".join(names))
