import random
from dataclasses import replace
from typing import Any

import pytest

from sidecar.core.events import Side
from sidecar.core.records import Record
from sidecar.core.replies import Echo, Step
from tests.core.play import BOTH, CODINGS, Exchange, cut, one_by_one, told
from tests.transcripts import Transcript, plays

FEW = {"simple", "parallel_tools", "failed", "cut_after_tool", "http_400"}

every = pytest.mark.parametrize(
    ("transcript", "streaming"),
    plays(),
    ids=[f"{transcript.name}-{'streamed' if streaming else 'whole'}" for transcript, streaming in plays()],
)
coded = pytest.mark.parametrize("coding", CODINGS)


def exchange(transcript: Transcript, *, streaming: bool, coding: str | None = None) -> Exchange:
    return Exchange(
        request=transcript.request(streaming),
        answer=transcript.answer(streaming),
        path=transcript.path,
        status=transcript.status,
        content_type=transcript.content_type(streaming),
        coding=coding,
        request_coding=coding,
    )


def assert_expected(records: list[Record], expected: dict[str, Any]) -> None:
    """Everything that the transcript says, and nothing else; of a failure's message what it mentions and hides."""
    found = told(records)
    wanted, ended = expected["ended"], found["ended"]
    message = ended["failure"]["message"] if ended["failure"] else ""
    assert found | {"ended": None} == expected | {"ended": None}
    assert (ended["failure"] and ended["failure"]["type"]) == wanted["failure"]
    assert (ended["http_status"], ended["provider_request_id"]) == (wanted["http_status"], None)
    assert [word for word in wanted.get("mentions", ()) if word not in message] == []
    assert [word for word in wanted.get("hides", ()) if word in message] == []


def echoed(steps: list[Step], side: Side) -> bytes:
    echoes = [reply for step in steps for reply in step.replies if isinstance(reply, Echo) and reply.side is side]
    assert [echo.end for echo in echoes] == [False] * (len(echoes) - 1) + [True]
    return b"".join(echo.data for echo in echoes)


@coded
@every
def test_an_exchange_leaves_its_records(transcript: Transcript, *, streaming: bool, coding: str | None) -> None:
    """However the network cut it, a byte at a time included."""
    play = exchange(transcript, streaming=streaming, coding=coding)
    expected, sent = transcript.expected(streaming), play.sent()
    chance = random.Random(f"{transcript.name} {streaming} {coding}")  # noqa: S311 - the same cuts each time
    places = [chance.randrange(len(sent) + 1) for _ in range(chance.randrange(1, 12))]
    for chunks in ([sent], cut(sent, places), one_by_one(sent)):
        assert_expected(play.records(chunks), expected)


@every
def test_a_proxy_that_wants_its_chunks_back_gets_them(transcript: Transcript, *, streaming: bool) -> None:
    """The records are the same, and so is every byte."""
    if transcript.name not in FEW:
        return
    play = exchange(transcript, streaming=streaming)
    steps = list(play.steps(cut(play.sent(), range(0, 5000, 97)), BOTH))
    assert_expected([record for step in steps for record in step.records], transcript.expected(streaming))
    assert echoed(steps, Side.REQUEST) == play.request
    assert echoed(steps, Side.RESPONSE) == play.answer


@every
def test_what_came_before_the_end_is_read_when_it_is_asked_for(transcript: Transcript, *, streaming: bool) -> None:
    """A client may hang up at any byte: nothing is recorded that was not there, and it ends once."""
    play = exchange(transcript, streaming=streaming)
    sent = play.sent()
    everything = told(play.records())
    for end in range(0, len(sent), 1 + len(sent) // 20):
        found = told(replace(play, answer=sent[:end]).records())
        assert found["started"] == everything["started"]
        assert found["tokens"] in (None, everything["tokens"])
        assert found["ended"]["http_status"] == transcript.status
