"""Instants as STAC writes them. Here: that one spelling. Not here: reading dates (`acquisition`)."""

from datetime import datetime


def rfc3339(instant: datetime) -> str:
    """A UTC instant as STAC writes it, with Z."""
    return instant.isoformat().replace("+00:00", "Z")
