"""`[credentials]`: who puts the providers' keys into requests."""

from typing import Literal

from sidecar.settings.section import Section


class Credentials(Section):
    """`[credentials]`: with `envoy` no key of the operator's ever reaches the workers."""

    inject_by: Literal["sidecar", "envoy"] = "sidecar"
