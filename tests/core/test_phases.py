import pytest

from sidecar.core import phases
from sidecar.core.errors import OutOfOrder
from sidecar.core.events import Body, Event, Headers, Recorded, Side, Trailers
from sidecar.core.phases import Phase, Sign, after, sign

START, REQUEST, RECORDING = Phase.START, Phase.REQUEST, Phase.RECORDING
FORWARDED, RESPONSE, DONE = Phase.FORWARDED, Phase.RESPONSE, Phase.DONE

# A row for each sign, a column for each phase: what follows, None where it cannot happen.
#                          START      REQUEST    RECORDING  FORWARDED  RESPONSE   DONE
TABLE = {
    Sign.REQUEST_HEADERS: (REQUEST, None, None, None, None, None),
    Sign.REQUEST_BODY: (None, REQUEST, None, FORWARDED, RESPONSE, DONE),
    Sign.REQUEST_TRAILERS: (None, REQUEST, None, FORWARDED, RESPONSE, DONE),
    Sign.RESPONSE_HEADERS: (DONE, DONE, None, RESPONSE, None, DONE),
    Sign.RESPONSE_BODY: (None, None, None, None, RESPONSE, DONE),
    Sign.RESPONSE_TRAILERS: (None, None, None, None, RESPONSE, DONE),
    Sign.RECORDED: (None, None, FORWARDED, None, None, None),
    Sign.READ: (None, RECORDING, None, None, None, None),
    Sign.PASSED: (None, FORWARDED, None, None, None, None),
    Sign.REFUSED: (None, DONE, None, DONE, None, None),
    Sign.ENDED: (DONE, DONE, DONE, DONE, DONE, DONE),
}
CELLS = [(phase, happened, row[at]) for happened, row in TABLE.items() for at, phase in enumerate(Phase)]


def test_every_sign_has_a_row() -> None:
    assert TABLE.keys() == set(Sign)


@pytest.mark.parametrize(("phase", "happened", "expected"), CELLS)
def test_what_may_come_next(phase: Phase, happened: Sign, expected: Phase | None) -> None:
    if expected is not None:
        assert after(phase, happened) is expected
        return
    with pytest.raises(OutOfOrder, match=f"^{happened.value} cannot follow in phase {phase.value}$"):
        after(phase, happened)


def test_an_interception_can_end_at_any_time_and_ends_for_good() -> None:
    assert {row[Sign.ENDED] for row in phases.TRANSITIONS.values()} == {DONE}
    assert set(phases.TRANSITIONS[DONE].values()) == {DONE}


def test_nothing_is_forwarded_that_was_not_read() -> None:
    """The only ways into FORWARDED from before the verdict: the journal's answer, and a passthrough."""
    before = (START, REQUEST, RECORDING)
    ways = {(phase, happened) for phase, happened, after in CELLS if after is FORWARDED and phase in before}
    assert ways == {(RECORDING, Sign.RECORDED), (REQUEST, Sign.PASSED)}


def test_every_phase_is_in_the_picture() -> None:
    picture = phases.__doc__ or ""
    assert [phase for phase in Phase if phase.name not in picture] == []
    ours = (Sign.READ, Sign.RECORDED, Sign.PASSED, Sign.REFUSED, Sign.ENDED)
    assert [happened for happened in ours if happened.name not in picture] == []


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (Headers(side=Side.REQUEST, at=0.0, pairs=()), Sign.REQUEST_HEADERS),
        (Body(side=Side.REQUEST, at=0.0, data=b""), Sign.REQUEST_BODY),
        (Trailers(side=Side.REQUEST, at=0.0), Sign.REQUEST_TRAILERS),
        (Headers(side=Side.RESPONSE, at=0.0, pairs=()), Sign.RESPONSE_HEADERS),
        (Body(side=Side.RESPONSE, at=0.0, data=b""), Sign.RESPONSE_BODY),
        (Trailers(side=Side.RESPONSE, at=0.0), Sign.RESPONSE_TRAILERS),
        (Recorded(at=0.0, durable=False), Sign.RECORDED),
    ],
)
def test_every_event_is_a_sign(event: Event, expected: Sign) -> None:
    assert sign(event) is expected
