"""The jobs that can be submitted, with the parameters of each.

Here: names, parameters, and what Dagster is told. Not here: the jobs themselves (`geo_assets.assets.jobs`).
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from geo_assets.api.problems import InvalidRequest


class Parameters(BaseModel):
    """What every job takes: a label, which makes a job of its own of what would else be the same job."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    label: str | None = Field(default=None, max_length=64, description="Makes this another job than the same without.")

    def canonical(self) -> dict[str, Any]:
        """The parameters that make the job's identity: defaults are in it, what is unset is not."""
        return self.model_dump(mode="json", exclude_none=True)

    def run_config(self) -> dict[str, Any]:
        """What Dagster is told beside the partition."""
        return {}


class HelloParameters(Parameters):
    """How many greetings."""

    n: int = Field(default=3, ge=1, le=10_000, description="Number of greetings, and so of replies.")

    def run_config(self) -> dict[str, Any]:
        """The configuration of the op that plans."""
        return {"ops": {"plan_greetings": {"config": {"n": self.n}}}}


class SourceParameters(Parameters):
    """Which source of sources.yaml."""

    source: str = Field(description="The name of a source of sources.yaml.", pattern=r"^[A-Za-z0-9_-]{1,63}$")


class PeriodParameters(Parameters):
    """Which time is compared."""

    hours: float = Field(default=24, gt=0, le=24 * 366, description="What came in within so many hours until now.")

    def run_config(self) -> dict[str, Any]:
        """The configuration of the asset."""
        return {"ops": {"event_paths": {"config": {"hours": self.hours}}}}


JOB_TYPES: dict[str, type[Parameters]] = {
    "hello_world": HelloParameters,
    "ingest_rasters": SourceParameters,
    "ingest_observed": SourceParameters,
    "load_vectors": SourceParameters,
    "make_cogs": SourceParameters,
    "reconcile": SourceParameters,
    "list_container": SourceParameters,
    "snapshot": SourceParameters,
    "compare_paths": PeriodParameters,
    "stac_setup": Parameters,
}
EXAMPLES: dict[str, Any] = {
    "hello_world": {"summary": "hello_world", "value": {"n": 3}},
    "ingest_rasters": {"summary": "ingest_rasters", "value": {"source": "landsat"}},
    "compare_paths": {"summary": "compare_paths", "value": {"hours": 24}},
    "again": {"summary": "the same as another job", "value": {"source": "landsat", "label": "2026-11-27"}},
}


def source_of(parameters: dict[str, Any]) -> str | None:
    """The source that a job's parameters name; None where it has none."""
    source = parameters.get("source")
    return source if isinstance(source, str) else None


def job_names() -> str:
    """The names of the jobs, for messages."""
    return ", ".join(sorted(JOB_TYPES))


def parse_parameters(job_type: str, given: dict[str, Any]) -> Parameters:
    """The parameters of a job. Raises InvalidRequest, as pydantic's errors in words."""
    try:
        return JOB_TYPES[job_type].model_validate(given)
    except ValidationError as error:
        words = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or 'body'}: {each['msg']}" for each in error.errors(include_url=False)
        )
        fields = ", ".join(JOB_TYPES[job_type].model_fields)
        raise InvalidRequest(f"{job_type}: {words}", remedy=f"Its parameters are: {fields}.") from error
