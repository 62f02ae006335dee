"""Every line that a process may say stands in docs/observability/logs.md, with its level, and no other."""

import ast
import re
from collections import defaultdict
from pathlib import Path

from sidecar import logs
from tests.e2e.bridges import ROOT

LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
NAMED = {"DROPPED": logs.DROPPED}  # events that have a name
RECORDS = "MESSAGE"  # the lines of records, which the page tells of one by one
LOGGERS = {"log", "structlog.get_logger()"}


def test_the_page_has_each_event_with_its_levels() -> None:
    said: dict[str, set[str]] = defaultdict(set)
    for file in sorted((ROOT / "sidecar").rglob("*.py")):
        for event, level in events(file):
            said[event].add(level)
    assert told() == said


def told() -> dict[str, set[str]]:
    """What the page says."""
    page = (ROOT / "docs/observability/logs.md").read_text()
    rows = re.findall(r"^\| (`[^|]*`) \| ([a-z, ]+) \|", page.partition("## Other lines")[2], re.MULTILINE)
    return {event: set(levels.split(", ")) for found, levels in rows for event in re.findall(r"`([^`]+)`", found)}


def events(file: Path) -> list[tuple[str, str]]:
    """What the module says, and at which level."""
    tree = ast.parse(file.read_text())
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute))
    found = []
    for call in calls:
        assert isinstance(call.func, ast.Attribute)
        if call.func.attr in LEVELS and call.args and ast.unparse(call.func.value) in LOGGERS:
            found += [(event, call.func.attr) for event in texts(call.args[0], tree)]
    return found


def texts(node: ast.expr, tree: ast.Module) -> list[str]:
    """What the expression may be."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.IfExp(body=one, orelse=other):
            return texts(one, tree) + texts(other, tree)
        case ast.Name(id=name) if name == RECORDS:
            return []
        case ast.Name(id=name) if name in NAMED:
            return [NAMED[name]]
        case ast.Name(id=name):
            assigned = (one for one in ast.walk(tree) if isinstance(one, ast.Assign))
            (value,) = (one.value for one in assigned if ast.unparse(one.targets[0]) == name)
            return texts(value, tree)
    raise AssertionError(ast.unparse(node))
