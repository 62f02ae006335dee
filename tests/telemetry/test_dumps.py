"""What stands in a dump: the request as sent, the response as received, and no secret."""

import gzip
import json
import os
import stat
from pathlib import Path

import pytest

from examples.events import events, sse
from sidecar.core.events import Body, Event, Headers, Recorded, Side
from sidecar.core.masks import MASK
from sidecar.settings import Recorder
from tests.e2e.exchanges import final
from tests.telemetry.dumped import EXTRA, ID, KEY, Exchange, dumped, files, played, settings

ASKED = Exchange(request=b'{"model":"m","input":"CANARY"}', answer=b'{"id":"resp_1","output":[]}')
REQUEST, RESPONSE = f"openai/m/{ID}.request.txt", f"openai/m/{ID}.response.txt"
OWN = "client-canary-0123456789"
STREAM = b"".join(sse(event) for event in events(final("case"), words=1))
STREAMED = Exchange(request=b'{"model":"m","stream":true}', answer=STREAM, content_type="text/event-stream")
# What a secret in a prompt is split into.
PARTS = ("sk-canary", "0123456789")


def asking(
    *more: tuple[str, str], body: bytes = ASKED.request, path: str = "/openai/v1/responses"
) -> tuple[Event, ...]:
    pairs = ((":method", "POST"), (":path", path), (":authority", "us"), ("x-forwarded-user", "alice"), *more)
    return (
        Headers(side=Side.REQUEST, at=1.0, pairs=pairs),
        Body(side=Side.REQUEST, at=2.0, data=body, end=True),
        Recorded(at=3.0, durable=True),
    )


def test_a_request_stands_there_as_it_was_sent_and_its_response_as_it_came(tmp_path: Path) -> None:
    """Headers sorted, the provider's place in place of ours, JSON for reading."""
    assert dumped(settings(tmp_path / "dumps"), ASKED) == {
        REQUEST: (
            ":method: POST\n"
            ":path: /base/v1/responses\n"
            "accept-encoding: identity\n"
            f"authorization: {MASK}\n"
            f"x-extra: {MASK}\n"
            '\n{\n  "model": "m",\n  "input": "CANARY"\n}\n'
        ),
        RESPONSE: (':status: 200\ncontent-type: application/json\n\n{\n  "id": "resp_1",\n  "output": []\n}\n'),
    }


def test_whoever_else_looks_finds_nothing_open(tmp_path: Path) -> None:
    """Whatever the umask."""
    before = os.umask(0)
    try:
        dumped(settings(tmp_path / "dumps"), ASKED)
    finally:
        os.umask(before)
    found = {path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "dumps").rglob("*")}
    assert {mode for path, mode in found.items() if path.is_file()} == {0o600}
    assert {mode for path, mode in found.items() if path.is_dir()} == {0o700}
    assert stat.S_IMODE((tmp_path / "dumps").stat().st_mode) == 0o700


@pytest.mark.parametrize("where", ["request", "answer"])
def test_a_credential_is_masked_wherever_it_stands(tmp_path: Path, where: str) -> None:
    """In headers, and in bodies too: providers repeat a key that they refuse."""
    said = json.dumps({"model": "m", "said": [KEY, EXTRA, OWN, f"Bearer {OWN}", "session-canary-1"]}).encode()
    secret = (
        ("authorization", f"Bearer {OWN}"), ("cookie", "a=session-canary-1"), ("x-my-token", "token-canary"),
        ("x_api_key", "header-canary"), ("proxy-authorization", "Basic basic-canary"),
    )  # fmt: skip
    answer = Exchange(answer=said if where == "answer" else b"{}").answering
    body = said if where == "request" else ASKED.request
    chunks = [said if where == "answer" else b"{}"]
    found = played(settings(tmp_path / "dumps"), (*asking(*secret, body=body), *answer(chunks)))
    assert "canary" not in "".join(found.values())
    assert KEY not in "".join(found.values())
    assert f"authorization: {MASK}\n" in found[REQUEST]


def test_headers_that_the_settings_name_are_masked(tmp_path: Path) -> None:
    plain = (*asking(("x-team", "CANARY-team")), *ASKED.answering([b"{}"]))
    assert "CANARY-team" in played(settings(tmp_path / "seen"), plain)[REQUEST]
    hiding = settings(tmp_path / "dumps", masked_headers=("x-team",))
    found = played(hiding, plain)[REQUEST]
    assert f"x-team: {MASK}\n" in found
    assert f"authorization: {MASK}\n" in found  # always


def test_of_a_query_a_key_is_masked(tmp_path: Path) -> None:
    asked = (*asking(path="/openai/v1/responses?a=1&api_key=CANARY&b"), *ASKED.answering([b"{}"]))
    found = played(settings(tmp_path / "dumps"), asked)[REQUEST]
    assert f":path: /base/v1/responses?a=1&api_key={MASK}&b\n" in found


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate"])
def test_what_is_compressed_is_shown_as_it_reads(tmp_path: Path, coding: str) -> None:
    exchange = Exchange(request=ASKED.request, answer=ASKED.answer, coding=coding, request_coding=coding)
    found = dumped(settings(tmp_path / "dumps"), exchange)
    assert '"input": "CANARY"' in found[REQUEST]
    assert '"id": "resp_1"' in found[RESPONSE]


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"plain text, \xc3\xa9", "plain text, é\n"),
        (b"\xff\x00\x01", "[binary: 3 bytes]\n"),
        (b"", ""),
        (b'{"cut": "sho', '{"cut": "sho\n'),
        (gzip.compress(b"{}", mtime=0)[:9], "[9 bytes whose content-encoding cannot be undone]\n"),
    ],
)
def test_a_response_that_is_no_json_is_shown_as_far_as_it_can_be(tmp_path: Path, body: bytes, shown: str) -> None:
    headers = (("content-encoding", "gzip"),) if body[:2] == b"\x1f\x8b" else ()
    answer = Headers(side=Side.RESPONSE, at=4.0, pairs=((":status", "200"), *headers))
    end = Body(side=Side.RESPONSE, at=5.0, data=body, end=True)
    found = played(settings(tmp_path / "dumps"), (*asking(), answer, end))
    assert found[RESPONSE].partition("\n\n")[2] == shown


def test_a_stream_is_shown_event_by_event(tmp_path: Path) -> None:
    """However the network cut it, skimmed or not."""
    found = [dumped(settings(tmp_path / str(at)), STREAMED, cut)[RESPONSE] for at, cut in enumerate(
        ([STREAM], [STREAM[at : at + 7] for at in range(0, len(STREAM), 7)])
    )]  # fmt: skip
    assert found[0] == found[1]
    shown = found[0].partition("\n\n")[2].split("\n\n")
    assert [json.loads(event.removeprefix("data: ")) for event in shown if event] == list(
        events(final("case"), words=1)
    )


def test_a_stream_that_is_cut_says_so(tmp_path: Path) -> None:
    answer, *_ = STREAMED.answering([])
    some = Body(side=Side.RESPONSE, at=5.0, data=STREAM[:-100])
    found = played(settings(tmp_path / "dumps"), (*asking(), answer, some))[RESPONSE]
    assert "data: {" in found
    assert found.endswith("[the response was not seen to its end]\n")


def test_a_refused_request_is_dumped_with_what_we_answered(tmp_path: Path) -> None:
    """As it came: nothing of it was sent. It has no model yet, and another gate's credential is masked."""
    secret = (("authorization", f"Bearer {OWN}"), ("cf-access-jwt-assertion", "CANARY"), ("x-ms-token-aad-x", "CANARY"))
    asked = asking(*secret, body=b'{"model":')
    found = played(settings(tmp_path / "dumps"), asked[:2])
    request, response = found[f"_refused/_refused/{ID}.request.txt"], found[f"_refused/_refused/{ID}.response.txt"]
    assert request.startswith("[refused, and so never sent; this is as it came]\n:authority: us\n")
    assert '{"model":' in request
    assert ":status: 400" in response
    assert '"code": "400"' in response
    assert not [word for word in (OWN, "CANARY") if word in request]


def test_a_request_without_a_durable_start_is_dumped_as_refused(tmp_path: Path) -> None:
    asked = (*asking()[:2], Recorded(at=3.0, durable=False))
    found = played(settings(tmp_path / "dumps"), asked)
    assert ":status: 500" in found[RESPONSE]
    assert "never sent" in found[REQUEST]


def test_a_client_that_leaves_before_the_verdict_leaves_its_request(tmp_path: Path) -> None:
    found = played(settings(tmp_path / "dumps"), asking()[:2])
    assert found.keys() == {REQUEST}
    assert found[REQUEST].startswith("[not decided")


def test_a_passthrough_is_not_dumped(tmp_path: Path) -> None:
    """It has no model and no record, and Envoy does not show its bodies."""
    pairs = ((":method", "GET"), (":path", "/openai/v1/models"), ("x-forwarded-user", "alice"))
    asked = Headers(side=Side.REQUEST, at=1.0, pairs=pairs, end=True)
    assert played(settings(tmp_path / "dumps"), (asked,)) == {}


@pytest.mark.parametrize("content", ["usage", "none"])
@pytest.mark.parametrize("exchange", [ASKED, STREAMED])
def test_without_content_there_are_no_bodies(tmp_path: Path, content: str, exchange: Exchange) -> None:
    wanted = settings(tmp_path / "dumps", recorder=Recorder(content=content))
    found = dumped(wanted, exchange)
    why = f"bytes of body withheld, since recorder.content is {content}]\n"
    assert found[REQUEST].partition("\n\n")[2] == f"[{len(exchange.request)} {why}"
    assert found[RESPONSE].partition("\n\n")[2] == f"[{len(exchange.answer)} {why}"


def test_without_content_a_query_is_not_shown(tmp_path: Path) -> None:
    wanted = settings(tmp_path / "dumps", recorder=Recorder(content="usage"))
    asked = (*asking(path="/openai/v1/responses?a=CANARY"), *ASKED.answering([b"{}"]))
    assert f":path: /base/v1/responses?{MASK}\n" in played(wanted, asked)[REQUEST]


def test_patterns_mask_headers_and_bodies_whatever_spells_them(tmp_path: Path) -> None:
    secret = "".join(PARTS)
    spelt = f'{{"model":"m","input":"it is \\u0073{secret[1:]}"}}'.encode()
    wanted = settings(tmp_path / "dumps", recorder=Recorder(mask=(r"sk-canary[0-9]+",)))
    asked = (*asking(("x-note", f"a {secret}"), body=spelt), *Exchange(answer=spelt).answering([spelt]))
    found = played(wanted, asked)
    assert f'"input": "it is {MASK}"' in found[REQUEST]
    assert f'"input": "it is {MASK}"' in found[RESPONSE]
    assert f"x-note: a {MASK}\n" in found[REQUEST]
    assert secret not in "".join(found.values())


def test_with_patterns_a_stream_shows_whole_things_alone(tmp_path: Path) -> None:
    """What is to be masked may stand in two deltas, half in each."""
    said = final("case")
    said["output"][0]["content"][0]["text"] = f"it is {''.join(PARTS)}"
    deltas = [{"type": "response.output_text.delta", "delta": part} for part in PARTS]
    answer = b"".join(map(sse, [*deltas, {"type": "response.completed", "response": said}]))
    exchange = Exchange(request=STREAMED.request, answer=answer, content_type="text/event-stream")
    assert all(part in dumped(settings(tmp_path / "seen"), exchange)[RESPONSE] for part in PARTS)
    wanted = settings(tmp_path / "dumps", recorder=Recorder(mask=(r"sk-canary[0-9]+",)))
    found = dumped(wanted, exchange)[RESPONSE]
    assert [part for part in PARTS if part in found] == []
    assert f"it is {MASK}" in found
    assert "[2 events left out" in found


def test_with_patterns_a_body_that_was_cut_is_not_shown(tmp_path: Path) -> None:
    """A pattern finds no half of what it is to find."""
    answer, *_ = ASKED.answering([])
    cut = Body(side=Side.RESPONSE, at=5.0, data=b'{"a":"sk-canary0')
    wanted = settings(tmp_path / "dumps", recorder=Recorder(mask=(r"sk-canary[0-9]{10}",)))
    assert "sk-canary" not in played(wanted, (*asking(), answer, cut))[RESPONSE]


def test_a_file_that_is_cut_says_so(tmp_path: Path) -> None:
    wanted = settings(tmp_path / "dumps", max_file_bytes=4096)
    body = json.dumps({"model": "m", "input": "x" * 10_000}).encode()
    found = dumped(wanted, Exchange(request=body, answer=body))
    for text in found.values():
        assert len(text) <= 4096
        assert text.rstrip().splitlines()[-1].startswith("[cut here")


def test_a_model_s_name_leads_nowhere_else(tmp_path: Path) -> None:
    body = json.dumps({"model": "../../../etc/passwd\u0000", "input": "hi"}).encode()
    found = dumped(settings(tmp_path / "a/dumps"), Exchange(request=body))
    assert len(found) == 2
    assert {path.count("/") for path in found} == {2}
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert files(settings(tmp_path / "a/dumps")).keys() == found.keys()
