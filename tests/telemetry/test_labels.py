"""Values that clients and models make up."""

import pytest

from sidecar.telemetry.metrics import ACTOR, Metric
from sidecar.telemetry.metrics.labels import MOST_CELLS, OTHER, Labels, cells, without

TOOLS = Metric.NON_INJECTED_TOOL_SELECTIONS_TOTAL


def fit(labels: Labels, model: str) -> str:
    return labels.fit(Metric.INTERCEPTIONS_INFLIGHT, ("openai", model, "responses"))[1]


def test_a_value_that_comes_after_too_many_is_other_and_those_that_were_first_stay() -> None:
    labels = Labels(2)
    assert [fit(labels, model) for model in ("a", "b", "c", "a", "d", "b")] == ["a", "b", OTHER, "a", OTHER, "b"]


def test_values_of_one_label_take_no_room_from_another() -> None:
    labels = Labels(1)
    assert labels.fit(TOOLS, ("openai", "a", "x")) == ("openai", "a", "x")
    assert labels.fit(TOOLS, ("openai", "b", "y")) == ("openai", OTHER, OTHER)


def test_what_the_settings_and_we_ourselves_say_is_never_other() -> None:
    labels = Labels(1)
    providers = [labels.fit(Metric.PASSTHROUGH_TOTAL, (f"p{index}", "models", "GET"))[0] for index in range(9)]
    assert providers == [f"p{index}" for index in range(9)]


def test_an_empty_value_is_none_and_takes_no_room() -> None:
    labels = Labels(1)
    assert [fit(labels, model) for model in ("", "a", "")] == ["", "a", ""]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("gpt-5", "gpt-5"),
        ("caf\u00e9 \U0001f600", "caf\u00e9 \U0001f600"),
        ("a\nb\x00c\x7f\u2028", "a?b?c??"),
        ("\ud800", "?"),
        ("x" * 10_000, "x" * 100),
        ("\n" * 10_000, "?" * 100),
    ],
)
def test_a_value_is_short_and_printable(said: str, shown: str) -> None:
    assert fit(Labels(1), said) == shown


def test_values_that_look_the_same_are_the_same() -> None:
    labels = Labels(1)
    assert [fit(labels, model) for model in ("x" * 100, "x" * 101, "x" * 102)] == ["x" * 100] * 3


def test_the_product_of_labels_is_bounded_too() -> None:
    labels = Labels(10_000)
    for _ in range(MOST_CELLS // cells(Metric.OPERATION_DURATION)):
        assert labels.has_room(Metric.OPERATION_DURATION)
        labels.took(Metric.OPERATION_DURATION)
    assert not labels.has_room(Metric.OPERATION_DURATION)
    assert labels.has_room(TOOLS)


def test_without_room_only_what_others_control_is_other() -> None:
    values = ("openai", "m", "completed", "responses", "POST", "Codex", "alice")
    assert Metric.INTERCEPTIONS_TOTAL.labels[-1] == ACTOR
    assert without(Metric.INTERCEPTIONS_TOTAL, values) == (
        "openai",
        OTHER,
        "completed",
        "responses",
        "POST",
        "Codex",
        OTHER,
    )
