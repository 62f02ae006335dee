"""What the span of a call to a provider says: in whose words, and whether content too."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from sidecar.settings import Provider, Settings
from sidecar.telemetry.traces.attributes import Attributes, Server
from sidecar.telemetry.traces.calls import Call
from sidecar.telemetry.traces.genai import genai, genai_next
from sidecar.telemetry.traces.openinference import openinference

Profile = Callable[[Call], Attributes]

PROFILES: Mapping[str, Profile] = MappingProxyType(
    {"genai": genai, "genai-next": genai_next, "openinference": openinference}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What is told. `servers`: where providers are, by their names. Content is told only where `content` is true."""

    profile: Profile = genai
    servers: Mapping[str, Server] = field(default_factory=dict)
    content: bool = False


def view(settings: Settings) -> View:
    """What the settings want told."""
    return View(
        profile=PROFILES[settings.telemetry.profile],
        servers={provider.name: _server(provider) for provider in settings.providers},
        content=settings.telemetry.content,
    )


def _server(provider: Provider) -> Server:
    return Server(provider.host, provider.port)
