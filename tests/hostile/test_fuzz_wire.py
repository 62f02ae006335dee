"""Messages that no Envoy would send, to the real gRPC server: each stream ends soon, and as the protocol has it."""

from grpc import StatusCode
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.contract import peer
from tests.hostile.damage import EDITS, Edit, damaged
from tests.hostile.serving import BOUNDS, Heard, Serving

CANARY = "canary-content"
ASKED = f'{{"model":"m","input":"{CANARY}","stream":true}}'.encode()
END = b'data: {"type":"response.completed","response":{"id":"resp_1","output":[]}}\n\n'
SOUND = tuple(
    message.SerializeToString()
    for message in (
        peer.request_headers(modes=(peer.Mode.BUFFERED, peer.Mode.STREAMED)),
        peer.request_body(ASKED),
        peer.response_headers(peer.EVENTS),
        peer.response_body(b'data: {"type":"response.output_text.delta","delta":"hello"}\n\n'),
        peer.response_body(END),
        peer.response_body(b"", end=True),
    )
)
DUPLEX = (peer.request_headers(modes=(peer.Mode.FULL_DUPLEX_STREAMED,) * 2).SerializeToString(), *SOUND[1:])
ANSWERED = ["request_headers", "request_body", "response_headers", *["response_body"] * 3]
# What a stream may end with: well, or with a code that the server chose. An exception would be UNKNOWN.
ENDS = {StatusCode.OK, StatusCode.INVALID_ARGUMENT}


def verdicts(heard: Heard) -> int:
    """How many of the replies let something through."""
    return sum(b"decision" in reply for reply in heard.replies)


def test_a_sound_stream_is_answered_message_by_message(serves: Serving) -> None:
    """What the others are variations of."""
    heard = serves.play(*SOUND)
    assert heard.kinds() == ANSWERED
    assert verdicts(heard) == 1
    assert heard.code is StatusCode.OK


@given(messages=st.lists(st.binary(max_size=200), max_size=5))
@example(messages=[b""])
@example(messages=[b"\x0a\xff\xff\xff\xff\x0f"])
@example(messages=[SOUND[0], b"\xff" * 9])
def test_any_bytes_end_a_stream_and_nothing_else(serves: Serving, messages: list[bytes]) -> None:
    assert serves.play(*messages).code in ENDS
    assert serves.left() == (0, 0, 0)


@given(
    order=st.lists(st.sampled_from(range(len(SOUND))), max_size=10) | st.just(list(range(len(SOUND)))),
    edits=st.dictionaries(st.integers(0, 9), EDITS, max_size=2),
    sound=st.sampled_from([SOUND, DUPLEX]),
)
@example(order=[1, 0, 1], edits={}, sound=SOUND)
@example(order=[0, 0, 1, 1], edits={}, sound=SOUND)
@example(order=[5, 2, 3], edits={}, sound=DUPLEX)
def test_damaged_messages_in_any_order_harm_no_one_else(
    serves: Serving, order: list[int], edits: dict[int, list[Edit]], sound: tuple[bytes, ...]
) -> None:
    """Nothing of them is left, no log line tells what they hold, and who comes next is served."""
    messages = [damaged(sound[number], edits.get(place, [])) for place, number in enumerate(order)]
    with capture_logs() as said:
        heard = serves.play(*messages)
        assert heard.code in ENDS
        assert serves.left() == (0, 0, 0)
    assert CANARY not in str(said)
    assert serves.open_interceptions() == 0
    assert serves.play(*SOUND).kinds() == ANSWERED


@given(order=st.lists(st.sampled_from(range(len(SOUND))), max_size=10), edits=st.lists(EDITS, min_size=10, max_size=10))
def test_nothing_is_let_through_that_was_not_recorded_first(
    serves: Serving, order: list[int], edits: list[list[Edit]]
) -> None:
    """However the messages are damaged: a stream holds a verdict only where there is one interception more."""
    before = len(serves.worker.ends())
    heard = serves.play(*(damaged(SOUND[number], edits[place]) for place, number in enumerate(order)))
    serves.left()
    assert verdicts(heard) <= len(serves.worker.ends()) - before <= 1


def test_a_message_larger_than_the_server_takes_ends_its_stream_alone(serves: Serving) -> None:
    too_long = peer.request_body(b" " * (16 * BOUNDS.request_bytes)).SerializeToString()
    assert serves.play(SOUND[0], too_long).code is StatusCode.RESOURCE_EXHAUSTED
    assert serves.play(*SOUND).kinds() == ANSWERED
