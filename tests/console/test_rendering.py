from decimal import Decimal

from sidecar.console.money import Tokens
from sidecar.console.rendering import cost, long
from sidecar.console.timeline import TEXT


def test_a_cost_that_is_not_known_is_no_number() -> None:
    assert cost(Tokens(answers=2, unknown=2)) == "unknown"
    assert cost(Tokens(answers=2, unknown=1, cost=Decimal(1))) == "$1.00 + unknown"
    assert cost(Tokens(answers=2, cost=Decimal(1))) == "$1.00"
    assert cost(Tokens()) == "$0.00"


def test_json_is_laid_out_with_its_values_as_they_were() -> None:
    assert long('{"a":1.0e5}') == '{\n  "a": 1.0e5\n}'
    assert long("{no json") == "{no json"


def test_of_a_long_text_the_beginning_is_shown_and_that_it_is_one() -> None:
    assert long("x" * (TEXT + 1)).endswith("x\n… (only the beginning is shown)")
