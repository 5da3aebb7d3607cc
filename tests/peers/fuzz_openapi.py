"""Schemathesis as a program that asks an API all that its OpenAPI descriptions allow, and much that they do not.

Here: the program. It runs with .venv/checkers first on PYTHONPATH, where scripts/setup.sh puts it: it wants another
version of jsonschema-rs than we do. Not here: the API that is asked (`tests.integration.test_api_conformance`).

Arguments: the number of examples of each operation and mode, a JSON object of names that are there for parameters of
paths (`{"item_id": ["a"]}`), and the addresses of descriptions, each with the address that its paths begin at. Half
of the filters are of CQL2. At the end each 5xx but the 503 that says that Dagster does not answer is told, once for
each operation, and the program fails.
"""

import json
import sys
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from tests.filter_grammar import EXPRESSIONS, JUNK, TEXTS_OF_FILTERS

_SECONDS = 40  # the server ends a query after 30


def run(examples: int, known: dict[str, list[str]], descriptions: list[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """The operations that were asked, and what failed of them."""
    names, failures = [], []
    for address, base in descriptions:
        description = schemathesis.openapi.from_url(address)
        description.config.update(base_url=base)
        for found in description.get_all_operations():
            operation = found.ok()
            if "/searches/{search_id}/" in operation.label:  # the routes of a collection's mosaic, once more
                continue
            names.append(operation.label)
            failure = _ask(operation, examples, known)
            if failure:
                failures.append(f"{base} {operation.label}\n{failure}")
    return names, failures


def _ask(operation: Any, examples: int, known: dict[str, list[str]]) -> str:
    """The first failure of the server at this operation, or nothing."""
    limits = settings(
        max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    failed = _Failed()

    def ask(case: schemathesis.Case, data: st.DataObject) -> None:
        _make_likelier(case, data, known)
        failed.ask(case)

    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        try:
            limits(given(case=operation.as_strategy(generation_mode=mode), data=st.data())(ask))()
        except Unsatisfiable:  # of what takes no parameter, none is wrong
            assert mode is GenerationMode.NEGATIVE, operation.label
    return failed.first


class _Failed:
    """The first failure of the server among what one operation is asked; nothing more is asked after it."""

    def __init__(self) -> None:
        self.first = ""

    def ask(self, case: schemathesis.Case) -> None:
        if self.first:
            return
        try:
            answer = case.call(timeout=_SECONDS)
        except requests.RequestException as error:
            self.first = f"{case.as_curl_command()[:3000]}\n{error}"
            return
        if answer.status_code < 500:
            return
        try:
            code = answer.json().get("code")
        except ValueError:
            code = None
        if (answer.status_code, code) != (503, "dagster_unavailable"):
            self.first = f"{case.as_curl_command()[:3000]}\n{answer.status_code} {answer.text[:600]}"


def _make_likelier(case: schemathesis.Case, data: st.DataObject, known: dict[str, list[str]]) -> None:
    """Names that are there, mostly, and filters that could be some: else all would be a 404 or a 422."""
    parameters: dict[str, Any] = case.path_parameters or {}
    for name in parameters:
        if name in known and data.draw(st.integers(0, 4)):
            parameters[name] = data.draw(st.sampled_from(known[name]))
    query = case.query or {}
    if "filter" in query or any(each.name == "filter" for each in case.operation.query):
        query["filter"] = data.draw(TEXTS_OF_FILTERS)
        query.pop("filter-lang", None)
        case.query = query
    if isinstance(case.body, dict) and ("filter" in case.body or case.operation.label.endswith(("search", "register"))):
        case.body["filter"] = data.draw(EXPRESSIONS | JUNK)


if __name__ == "__main__":
    addresses = sys.argv[3:]
    asked, wrong = run(
        int(sys.argv[1]), json.loads(sys.argv[2]), list(zip(addresses[::2], addresses[1::2], strict=True))
    )
    sys.stdout.write("\n".join(asked))
    if wrong:
        sys.exit("\n\n".join(wrong))
