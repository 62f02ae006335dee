"""The dashboard and the alert rules against the metrics there are: each name, and each label of each name."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from sidecar.telemetry.metrics import Metric, plain

FOLDER = Path(__file__).parents[2] / "docs/observability"
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
RULES = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"][0]["rules"]
LABELS = {metric.full_name: {plain(label) for label in metric.labels} for metric in Metric}
NAME = re.compile(r"\b(?:aibridge|gen_ai)_[a-z_]+\b")


def expressions() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from (rule["expr"] for rule in RULES)


def metric(name: str) -> str:
    """The metric that a sample of this name belongs to."""
    return name if name in LABELS else re.sub(r"_(bucket|sum|count)$", "", name)


@pytest.mark.parametrize("expression", list(expressions()))
def test_an_expression_is_of_metrics_and_labels_that_are_there(expression: str) -> None:
    names = {metric(name) for name in NAME.findall(expression)}
    assert names
    assert names <= LABELS.keys()
    known = set.union(*(LABELS[name] for name in names)) | {"le"}
    grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(",")}
    matched = {label for group in re.findall(r"\{([^}]*)\}", expression) for label in re.findall(r"(\w+)=", group)}
    assert grouped | matched <= known
    assert all(expression.count(left) == expression.count(right) for left, right in ("()", "[]", "{}"))


def test_a_variable_asks_for_a_label_that_is_there() -> None:
    queries = [one["query"] for one in DASHBOARD["templating"]["list"] if one["type"] == "query"]
    found = [re.fullmatch(r"label_values\((\w+), (\w+)\)", query) for query in queries]
    assert [one is not None and one[2] in LABELS[one[1]] for one in found] == [True, True]


def test_panels_do_not_overlap() -> None:
    places = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(places) == len(set(places))
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_every_rule_says_what_it_means() -> None:
    assert all({"alert", "expr", "labels", "annotations"} <= rule.keys() for rule in RULES)
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
