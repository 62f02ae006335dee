"""Costs as they are written for a reader."""

from decimal import Decimal
from typing import Final

_LEAST: Final = Decimal("0.0001")


def dollars(value: Decimal) -> str:
    """Whole cents; of less than a dollar also parts of them."""
    if not value or value >= 1:
        return f"${value:,.2f}"
    return f"${value:.4f}" if value >= _LEAST else f"< ${_LEAST}"


def told(known: Decimal | None, *, unknown: bool) -> str:
    """What is known of a cost, None for nothing, and whether there is more; never a guess."""
    if known is None:
        return "unknown"
    return f"{dollars(known)} + unknown" if unknown else dollars(known)
