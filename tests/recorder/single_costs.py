"""What one answer costs by itself: what sums are held against."""

from bisect import bisect_left, bisect_right
from datetime import date
from decimal import Decimal

from sidecar.recorder.usage import prices


def cost(provider: str, model: str, day: date, tier: str | None = None, **counts: int) -> Decimal | None:
    """US dollars; None: not known. `counts`: of all four kinds, as `Rates.cost` has them; `day`: in UTC."""
    is_sound = all(0 <= count <= prices.MOST for count in counts.values())
    length = counts["input"] + counts["cache_read"] + counts["cache_write"]
    bracket = bisect_left(prices.lengths(), length) if is_sound else prices.ABSURD
    return prices.rates(provider, model, tier, bisect_right(prices.changes(), day), bracket).cost(**counts)
