from decimal import Decimal

import pytest

from sidecar.recorder.usage.dollars import dollars, told


@pytest.mark.parametrize(
    ("value", "text"),
    [("0", "$0.00"), ("1234.567", "$1,234.57"), ("1", "$1.00"), ("0.0075", "$0.0075"), ("0.00001", "< $0.0001")],
)
def test_money_is_told_as_exactly_as_matters(value: str, text: str) -> None:
    assert dollars(Decimal(value)) == text


def test_what_is_not_known_is_no_number() -> None:
    assert told(None, unknown=True) == "unknown"
    assert told(Decimal(1), unknown=True) == "$1.00 + unknown"
    assert told(Decimal(1), unknown=False) == "$1.00"
    assert told(Decimal(0), unknown=False) == "$0.00"
