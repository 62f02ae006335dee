"""The settings of the console."""

from typing import Annotated, Self

from pydantic import AfterValidator, SecretStr, model_validator

from sidecar.settings import checks
from sidecar.settings.section import Address, Section


class Console(Section):
    """`[console]`: the page that shows what was recorded."""

    listen: Address = "127.0.0.1:9480"
    token: Annotated[SecretStr | None, AfterValidator(checks.key)] = None
    behind_proxy: bool = False

    @model_validator(mode="after")
    def _protected(self) -> Self:
        is_open = not checks.is_loopback(checks.host_and_port(self.listen)[0])
        if is_open and not (self.token or self.behind_proxy):
            allowed = "an address on loopback; others need console.token, or console.behind_proxy = true"
            checks.refuse(allowed, "listen", self.listen)
        return self
