"""What can be told of `bench.peers` with none of the peers installed."""

import pytest

from bench.exchanges import answers
from bench.peers.asking import Asked, ask, asked
from bench.peers.makes import NOT_MEASURED, makes
from bench.peers.results import Result, verdicts
from examples.provider import Provider

QUICK = {"p50": 1.0, "p99": 1.0, "p999": 1.0}
PART = {"errors": 0, "altered": 0, "seconds": 1.0, "latency": QUICK, "first": QUICK}


def result(name: str, **changed: object) -> Result:
    part = {**PART, **changed}
    return Result(name=name, requests=100, cpu=1.0, memory=1, many=part, one=part, stream=part)


@pytest.mark.parametrize("kind", ["json", "sse"])
@pytest.mark.parametrize(("events", "altered"), [(10, 0), (11, 4)])
async def test_bytes_that_differ_from_the_providers_are_told_from_errors(kind: str, events: int, altered: int) -> None:
    async with Provider(answers(10, 0.0, 0.0), keep=False) as provider:
        address = provider.url.removeprefix("http://")
        what = Asked(address=address, path="/v1/responses", kind=kind, connections=2, requests=4, events=events)
        found = await ask(what)
    assert (found.errors, found.altered) == (0, altered if kind == "sse" else 0)


async def test_who_does_not_answer_is_an_error() -> None:
    async with Provider(answers(10, 0.0, 0.0), keep=False) as provider:
        address = provider.url.removeprefix("http://")
    found = await ask(Asked(address=address, path="/", kind="json", connections=1, requests=3, events=10))
    assert found.errors == 3


def test_a_peer_is_asked_on_its_path_with_its_headers() -> None:
    what = Asked(address="", path="/p", kind="json", connections=1, requests=1, events=10, headers={"x-a": "b"})
    assert asked(what).startswith(b"POST /p HTTP/1.1\r\n")
    assert b"\r\nx-a: b\r\n" in asked(what)


def test_a_ratio_is_never_made_of_answers_that_failed() -> None:
    [told] = verdicts([result("sidecar"), result("Portkey, records nothing", errors=1)])
    assert "no ratio" in told


def test_a_ratio_is_ours_to_theirs() -> None:
    told = list(verdicts([result("sidecar"), result("LiteLLM, usage logging on", seconds=30.0)]))
    assert told[0] == "requests/s, 16 connections, to LiteLLM, usage logging on: 30.00, at least: 20"


def test_versions_are_pinned_and_none_is_known_to_carry_malware() -> None:
    found = makes("http://127.0.0.1:1")
    assert {one.package for one in found.values()} == {"litellm 1.82.6", "@portkey-ai/gateway 1.15.2"}
    assert "Bifrost" in NOT_MEASURED
