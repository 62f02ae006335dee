"""The README against the code: what is named there is there, with that default, and the other way round."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from sidecar.cli import main
from sidecar.core.records import ErrorType
from sidecar.core.routes import ROUTES
from sidecar.recorder.schema import metadata
from sidecar.settings import (
    Console,
    Credentials,
    Dump,
    Identity,
    Issuer,
    Limits,
    PolicyRule,
    Provider,
    Recorder,
    Service,
    Settings,
    Telemetry,
    Tls,
)

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SETTINGS = (ROOT / "docs/settings.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
SECTIONS: dict[str, type[BaseModel]] = {
    "identity": Identity,
    "issuers": Issuer,
    "tls": Tls,
    "credentials": Credentials,
    "policies": PolicyRule,
    "providers": Provider,
    "recorder": Recorder,
    "telemetry": Telemetry,
    "limits": Limits,
    "service": Service,
    "dump": Dump,
    "console": Console,
}


def written(default: object) -> str:
    """A default as it would stand in the file."""
    match default:
        case None:
            return '""'
        case float():
            return f"{default:g}"
        case tuple():
            return json.dumps(list(default))
        case Path():
            return json.dumps(str(default))
        case _:
            return json.dumps(default)


def keys() -> Iterator[tuple[str, str]]:
    """Every key with its default."""
    for name, field in Settings.model_fields.items():
        if name not in SECTIONS:
            yield name, written(field.get_default())
    for section, model in SECTIONS.items():
        for name, field in model.model_fields.items():
            yield f"{section}.{name}", written(field.get_default(call_default_factory=True))


def rows(heading: str) -> list[list[str]]:
    """The cells of the tables under a heading."""
    return cells(README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0])


def cells(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith(("| `", "| **"))]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_setting_is_named_with_its_default() -> None:
    """And nothing else is."""
    named = [(row[0].strip("`"), row[1].strip("`")) for row in cells(SETTINGS) if not row[0].startswith("**")]
    assert named == list(keys())


def test_every_command_is_named() -> None:
    assert [row[0].strip("`").removeprefix("aibridge-sidecar ") for row in rows("Commands")] == [
        "up",
        "serve",
        "envoy-config",
        "istio-config",
        "drain",
        "report",
        "export",
        "purge",
        "recorder",
        "console",
        "probe",
    ]
    assert set(main.commands) == {
        "up",
        "serve",
        "envoy-config",
        "istio-config",
        "drain",
        "report",
        "export",
        "purge",
        "recorder",
        "console",
        "probe",
    }


@pytest.mark.parametrize("command", ["envoy-config", "istio-config", "drain", "report", "export", "purge", "probe"])
def test_every_option_is_named(command: str) -> None:
    (row,) = (row for row in rows("Commands") if row[0] == f"`aibridge-sidecar {command}`")
    options = {option for parameter in main.commands[command].params for option in parameter.opts}
    assert set(re.findall(r"--[a-z-]+", row[1])) == options - {"--config"}


def test_every_target_is_named() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE)) - {"help"}
    development = README.partition("\n## Development\n")[2]
    assert set(re.findall(r"`([a-z-]+)`", development.partition("CI runs")[0])) == targets | {"make"}
    assert set(re.findall(r"\bmake ([a-z-]+)", README)) <= targets


def test_every_route_is_named() -> None:
    """As `GET`, `POST path`: the methods come before the path that they are for."""
    named: dict[str, set[str]] = {}
    for row in rows("Routes")[:2]:
        methods: set[str] = set()
        for word in re.findall(r"`([^`]*)`", row[0]):
            method, _, path = word.partition(" ")
            methods.add(method)
            if path:
                named.setdefault(path, set()).update(methods)
                methods = set()
    assert named == {path: set(methods) for path, methods in ROUTES.items()}


def test_every_column_is_named() -> None:
    named = {
        row[0].strip("`"): re.sub(r" \([^)]*\)", "", row[2]).split(", ")
        for row in rows("What is recorded")
        if len(row) == 3
    }
    assert named == {table.name: [column.name for column in table.columns] for table in metadata.sorted_tables}


def test_every_error_type_is_named() -> None:
    recorded = README.partition("\n## What is recorded\n")[2].partition("\n## ")[0]
    assert {error.value for error in ErrorType} <= set(re.findall(r"`([a-z_]+)`", recorded))


def test_every_folder_in_the_table_is_there() -> None:
    paths = [word for row in rows("Development") for word in re.findall(r"`([^`]+)`", row[0])]
    assert [path for path in paths if not (ROOT / path).exists() and not (ROOT / "sidecar" / path).exists()] == []


def test_readme_is_short_enough_to_be_read() -> None:
    assert len(README.splitlines()) <= 300
