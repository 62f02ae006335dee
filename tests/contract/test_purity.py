"""What the sources may not hold, told from the sources."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    file for file in (ROOT / "sidecar").rglob("*.py") if not file.is_relative_to(ROOT / "sidecar/pb")
)  # fmt: skip
TESTS = sorted(Path(__file__).parent.glob("*.py"))
PROTOBUF = {"google", "envoy", "sidecar.pb"}
MAY_SPEAK_IT = {
    "sidecar/wire.py",  # Envoy's
    # Our own contract: what it says, who asks, who answers.
    "sidecar/recorder/service/contract.py",
    "sidecar/recorder/service/gathering.py",
    "sidecar/recorder/service/remote.py",
    "sidecar/recorder/service/servicer.py",
}


def name(file: Path) -> str:
    return str(file.relative_to(ROOT))


def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)


def strings(file: Path) -> Iterator[str]:
    constants = (node.value for node in ast.walk(tree(file)) if isinstance(node, ast.Constant))
    return (value for value in constants if isinstance(value, str))


def catches_everything(file: Path) -> int:
    caught = [node.type for node in ast.walk(tree(file)) if isinstance(node, ast.ExceptHandler)]
    return sum(kind is None or ast.unparse(kind) in {"Exception", "BaseException"} for kind in caught)


@pytest.mark.parametrize("file", TESTS, ids=name)
def test_the_contract_is_judged_by_another_implementation(file: Path) -> None:
    """The server's own `envoy` package would agree with the server about everything."""
    assert not [module for module in imported(file) if module.split(".")[0] == "envoy"]


def test_types_are_spelt_as_literals_only_where_they_are_checked() -> None:
    """Envoy's configuration is made of typed messages."""
    assert [name(file) for file in SOURCES if any("@type" in text for text in strings(file))] == [
        "sidecar/secrets/descriptions.py",  # against those messages, by test_secrets.py
    ]


def test_protobuf_stops_at_the_wire() -> None:
    """Telemetry speaks OTLP, health checks are gRPC's own service: neither is the protocol."""
    speak = {
        name(file)
        for file in SOURCES
        if any(module.split(".")[0] in PROTOBUF or re.match(r"sidecar\.pb\b", module) for module in imported(file))
    }
    assert speak == MAY_SPEAK_IT


def test_one_place_catches_everything() -> None:
    caught = {name(file): count for file in SOURCES if (count := catches_everything(file))}
    assert {file: count for file, count in caught.items() if not file.startswith("sidecar/telemetry/")} == {
        "sidecar/console/pages.py": 1,  # a process of its own, that shows what was recorded
        "sidecar/server.py": 1,
    }
