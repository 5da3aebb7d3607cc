"""stac-api-validator as a program that reads schemas from files, never from the net.

Here: the program. It runs with .venv/checkers first on PYTHONPATH, where scripts/setup.sh puts it: it wants
another version of stac-valid than we do. Not here: what it is asked (`tests.integration.test_api_conformance`).

First argument: a JSON file with the path of each schema by its address. The others are stac-api-validator's.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pystac.validation
import stac_validator.utilities
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from stac_api_validator.__main__ import main


def read_schemas_from(paths: dict[str, str]) -> None:
    """Have both validators that it is built of take the schemas at these addresses from these files."""
    fetch = stac_validator.utilities.fetch_and_parse_file

    def read(address: str, headers: Any = None) -> Any:
        return json.loads(Path(paths[address]).read_text()) if address in paths else fetch(address, headers)

    stac_validator.utilities.fetch_and_parse_file = read
    validator = JsonSchemaSTACValidator()
    validator.schema_cache |= {address: read(address) for address in paths}
    pystac.validation.set_validator(validator)


if __name__ == "__main__":
    read_schemas_from(json.loads(Path(sys.argv[1]).read_text()))
    main(sys.argv[2:], prog_name="stac-api-validator")
