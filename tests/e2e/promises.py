"""The promise of docs/durability.md, held against what clients read, what the provider saw and what is on record."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tests.e2e.exchanges import PROMPT
from tests.e2e.recorded import Recorded
from tests.e2e.traffic import Exchange

LOST = ("failed", "lost", None)
TIMEOUT = 5.0  # seconds that Envoy waits for a worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """A worker was sent SIGKILL `at` that time, and was `gone` at that one (monotonic)."""

    at: float
    gone: float


def assert_kept(
    exchanges: Iterable[Exchange], seen: Iterable[str], records: Mapping[str, Recorded], kills: Iterable[Kill] = ()
) -> None:
    """Hold it. `seen`: the names of the requests that the provider saw; `records`: by the same names."""
    kills = tuple(kills)
    assert [one for one in records.values() if one.interception["ended_at"] is None] == []
    assert [name for name in seen if name not in records] == []
    for name in seen:
        assert [text for _, text in records[name].asked] == [PROMPT], records[name]
    for one in exchanges:
        if one.is_read:
            assert one.is_intact, one
            assert one.name in records, one
            assert is_complete(records[one.name]) or is_excused(one, records[one.name], kills), (one, records[one.name])
    assert [one for one in records.values() if one.interception["status"] == "completed" and not is_complete(one)] == []


def is_complete(recorded: Recorded) -> bool:
    """Whether it is all there, once: the end, the usage and the prompt, under the response's id."""
    response = f"resp_{recorded.interception['client_session_id']}"
    usages = [(row["msg_id"], row["input_tokens"], row["output_tokens"]) for row in recorded.tokens]
    return (
        recorded.ended == ("completed", None, 200)
        and recorded.asked == [(response, PROMPT)]
        and usages == [(response, 6, 3)]
    )


def is_excused(exchange: Exchange, recorded: Recorded, kills: Iterable[Kill]) -> bool:
    """The one exception: its worker was killed, or was too slow for Envoy, while it was under way."""
    if recorded.ended == LOST:
        return any(exchange.began < kill.gone and kill.at < exchange.ended for kill in kills) and not recorded.tokens
    return recorded.interception["error_type"] == "unobserved" and exchange.seconds >= TIMEOUT
