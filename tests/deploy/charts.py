"""The chart's resources, taken apart."""

from functools import cache
from typing import Any

import yaml

from deploy import render

Fields = dict[str, Any]
EXAMPLES = (*render.PLAIN, "full", "identified")


@cache
def resources(name: str) -> tuple[Fields, ...]:
    """Those of an example's values."""
    return made(render.values(name))


def made(values: Fields) -> tuple[Fields, ...]:
    """Those of these values."""
    return tuple(yaml.safe_load(text) for text in render.manifests(values))


def only(found: tuple[Fields, ...], kind: str) -> Fields:
    """The one of that kind, the one named for the release if there are more."""
    (one,) = (each for each in found if each["kind"] == kind and not each["metadata"]["name"].endswith("-pods"))
    return one


def pod(found: tuple[Fields, ...]) -> Fields:
    """The specification of the pods."""
    return dict(_template(found)["spec"])


def annotations(found: tuple[Fields, ...]) -> dict[str, str]:
    """The pods'."""
    return dict(_template(found)["metadata"]["annotations"])


def _template(found: tuple[Fields, ...]) -> Fields:
    (template,) = (each["spec"]["template"] for each in found if each["kind"] in {"StatefulSet", "Deployment"})
    return dict(template)


def ours(found: tuple[Fields, ...]) -> dict[str, Fields]:
    """The containers that are ours, by name."""
    spec = pod(found)
    image = only(found, "ConfigMap") and spec["initContainers"][0]["image"]
    return {each["name"]: each for each in (*spec["initContainers"], *spec["containers"]) if each["image"] == image}


def file(found: tuple[Fields, ...], name: str) -> str:
    """A file of the ConfigMap."""
    return str(only(found, "ConfigMap")["data"][name])
