"""What all parts of sources.yaml have in common.

Here: the base of their models, and one value where a list may stand. Not here: the parts (`sources` and its *_rules).
"""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Rule(BaseModel):
    """A mapping of sources.yaml. The text below a key says what it means, in docs/reference/sources.md too."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


OneOrMore = BeforeValidator(_as_list)
"""One text where a list of one is meant."""
Names = Annotated[tuple[str, ...], OneOrMore]
