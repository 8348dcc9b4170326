"""What every table of the configuration is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of the file: frozen, no unknown keys, no guessing between types."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)
