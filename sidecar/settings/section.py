"""What all sections of the settings share."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from sidecar.settings import checks

Address = Annotated[str, AfterValidator(checks.address)]
OptionalPath = Annotated[Path | None, BeforeValidator(checks.nothing), AfterValidator(checks.path)]
OptionalFile = Annotated[Path | None, BeforeValidator(checks.nothing), AfterValidator(checks.file)]


class Section(BaseModel):
    """What all settings share: no unknown keys, no changes, no values in the errors' text."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, hide_input_in_errors=True)
