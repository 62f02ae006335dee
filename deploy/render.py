"""What in this folder and in `envoy/istio` is made from something else: `make deploy-yaml`."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import helm_python as helm
import yaml

from sidecar.bootstrap import istio
from sidecar.settings import Identity, load

ROOT: Final = Path(__file__).parents[1]
CHART: Final = ROOT / "deploy/helm/aibridge-sidecar"
PLAIN: Final = ("service", "sidecar", "istio-sidecar", "egress-gateway")
_ISTIO = ROOT / "envoy/istio"
_PLAIN_HEADING = """\
# The chart in deploy/helm with the values of its ci/{name}.yaml, for who has no Helm: change those, not this. In your
# copy put your image, your Secrets' names and your store in the place of theirs.
"""
_BREAK = re.compile(r"^---$", re.MULTILINE)


def values(name: str) -> dict[str, Any]:
    """The chart's example values of that name."""
    read: dict[str, Any] = yaml.safe_load((CHART / f"ci/{name}.yaml").read_text())
    return read


def templates(chosen: dict[str, Any]) -> dict[str, str]:
    """The chart's templates, rendered with these values for a release `aibridge`, by their file's name.

    Raises HelmError where the values are not what the schema wants.
    """
    with helm.Chart.load(CHART) as chart:
        chart.validate_schema(chosen)
        rendered = chart.render(chosen, name="aibridge", namespace="aibridge")
    return {path.rpartition("/")[2]: text for path, text in sorted(rendered.items())}


def manifests(chosen: dict[str, Any]) -> list[str]:
    """The resources among them, as YAML."""
    files = (text for path, text in templates(chosen).items() if path.endswith(".yaml"))
    return [document.strip() for text in files for document in _BREAK.split(text) if document.strip()]


def generated() -> Iterator[tuple[Path, str]]:
    """Every file that is made, with what belongs in it."""
    settings = load(_ISTIO / "settings.toml")
    yield _ISTIO / "sidecar.yaml", istio.render(settings, "sidecar")
    # There the connection says who asks. (A file would have to name certificates, of which the mesh has its own.)
    gateway = settings.model_copy(update={"identity": Identity(source="mtls")})
    yield _ISTIO / "gateway.yaml", istio.render(gateway, "gateway")
    for name in PLAIN:
        text = "\n---\n".join(manifests(values(name)))
        yield ROOT / f"deploy/kubernetes/{name}.yaml", f"{_PLAIN_HEADING.format(name=name)}{text}\n"


if __name__ == "__main__":
    for path, text in generated():
        path.write_text(text)
