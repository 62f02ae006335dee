import dataclasses

import pytest
from msgspec.structs import replace

from sidecar.core.records import Answered, Ended
from sidecar.telemetry.traces.attributes import Attributes, Server
from sidecar.telemetry.traces.profiles import View
from sidecar.telemetry.traces.tree import Node, Recording, Tree, passthrough
from tests.telemetry.interceptions import (
    ANSWER,
    CALLS,
    CLIENT,
    COMMON,
    ENDED,
    FORWARDED,
    LIMITED,
    PASSED,
    PROMPT,
    REFUSED,
    REQUEST,
    STARTED,
    THOUGHT,
    TOKENS,
    TOOL,
    USAGE,
    T,
)

CREATED = Node(name="Intercept.CreateInterceptor", start=T, end=T + 0.25, attributes=COMMON)
RECORDED = Node(name="Intercept.RecordInterception", start=T + 0.25, end=T + 0.5, attributes=COMMON)


def recording(name: str) -> Node:
    return Node(name=f"Intercept.{name}", start=T + 4, end=T + 4.5, attributes=COMMON)


def test_a_completed_interception_is_one_whole_tree() -> None:
    tree = Tree()
    tree.start(STARTED, T + 0.5)
    tree.forward(FORWARDED)
    for record in (PROMPT, TOKENS, TOOL, THOUGHT):
        tree.record(record, T + 4.5)
    assert tree.end(ENDED, T + 4.5) == Node(
        name="Intercept",
        start=T,
        end=T + 4.5,
        attributes={**COMMON, **CLIENT},
        children=(
            CREATED,
            RECORDED,
            Node(
                name="Intercept.ProcessRequest",
                start=T + 0.5,
                end=T + 4,
                attributes=COMMON,
                children=(
                    Node(
                        name="Intercept.ProcessRequest.Upstream",
                        start=T + 0.75,
                        end=T + 4,
                        attributes={**COMMON, **CLIENT, **REQUEST, **ANSWER, **USAGE, **CALLS},
                        client=True,
                    ),
                    recording("RecordPromptUsage"),
                    recording("RecordTokenUsage"),
                    recording("RecordToolUsage"),
                    recording("RecordModelThought"),
                ),
            ),
            Node(name="Intercept.RecordInterceptionEnded", start=T + 4, end=T + 4.5, attributes=COMMON),
        ),
    )


def test_a_refusal_has_no_upstream_and_no_time_that_runs_backwards() -> None:
    """Its start is committed together with its end: later than the request was processed."""
    failed = {"error.type": "rejected"}
    message = "background requests are not supported"
    tree = Tree()
    tree.start(STARTED, T + 1)
    assert tree.end(REFUSED, T + 1) == Node(
        name="Intercept",
        start=T,
        end=T + 1,
        attributes={**COMMON, **CLIENT, **failed},
        error=message,
        children=(
            CREATED,
            dataclasses.replace(RECORDED, end=T + 1),
            Node(
                name="Intercept.ProcessRequest",
                start=T + 0.5,
                end=T + 0.5,
                attributes={**COMMON, **failed},
                error=message,
            ),
            Node(name="Intercept.RecordInterceptionEnded", start=T + 0.5, end=T + 1, attributes=COMMON),
        ),
    )


def test_a_failure_upstream_is_told_at_every_level_above_it() -> None:
    failed = {"error.type": "rate_limited"}
    message = "the provider answered 429: rate_limit_exceeded"
    tree = Tree()
    tree.start(STARTED, T + 0.5)
    tree.forward(FORWARDED)
    assert tree.end(LIMITED, T + 2.25) == Node(
        name="Intercept",
        start=T,
        end=T + 2.25,
        attributes={**COMMON, **CLIENT, **failed},
        error=message,
        children=(
            CREATED,
            RECORDED,
            Node(
                name="Intercept.ProcessRequest",
                start=T + 0.5,
                end=T + 2,
                attributes={**COMMON, **failed},
                error=message,
                children=(
                    Node(
                        name="Intercept.ProcessRequest.Upstream",
                        start=T + 0.75,
                        end=T + 2,
                        attributes={**COMMON, **CLIENT, **REQUEST, **failed},
                        error=message,
                        client=True,
                    ),
                ),
            ),
            Node(name="Intercept.RecordInterceptionEnded", start=T + 2, end=T + 2.25, attributes=COMMON),
        ),
    )


def test_a_commit_that_was_not_seen_is_an_error_of_its_own_span_alone() -> None:
    """The interception went well; that its records were late is worth a look."""
    tree = Tree()
    tree.start(STARTED, None)
    tree.record(TOKENS, None)
    late = {"attributes": COMMON, "error": "not known to be committed"}
    assert tree.end(ENDED, None) == Node(
        name="Intercept",
        start=T,
        end=T + 4,
        attributes={**COMMON, **CLIENT},
        children=(
            CREATED,
            Node(name="Intercept.RecordInterception", start=T + 0.25, end=T + 0.25, **late),
            Node(
                name="Intercept.ProcessRequest",
                start=T + 0.25,
                end=T + 4,
                attributes=COMMON,
                children=(Node(name="Intercept.RecordTokenUsage", start=T + 4, end=T + 4, **late),),
            ),
            Node(name="Intercept.RecordInterceptionEnded", start=T + 4, end=T + 4, **late),
        ),
    )


def test_a_clock_that_was_set_back_gives_no_span_that_ends_before_it_starts() -> None:
    tree = Tree()
    tree.start(replace(STARTED, read_at=T - 1), T - 2)
    tree.forward(FORWARDED)
    tree.record(TOKENS, T - 3)
    whole = tree.end(replace(ENDED, at=T - 4), T - 5)
    assert whole is not None
    assert all(node.start <= node.end for node in flat(whole))


def flat(node: Node) -> list[Node]:
    return [node, *(below for child in node.children for below in flat(child))]


def test_more_recordings_than_a_trace_can_show_are_counted() -> None:
    """A response may hold any number of them, and the event loop waits while spans are made."""
    tree = Tree()
    tree.start(STARTED, T + 0.5)
    for _ in range(103):
        tree.record(TOOL, T + 4.5)
    whole = tree.end(ENDED, T + 4.5)
    assert whole is not None
    request = whole.children[2]
    assert request.children == (recording("RecordToolUsage"),) * 100
    assert request.attributes == {**COMMON, "dropped_records": 3}


def upstream(*records: Recording, ended: Ended = ENDED, view: View | None = None) -> Attributes:
    """What the span of the call to the provider says."""
    tree = Tree(view or View())
    tree.start(STARTED, T + 0.5)
    tree.forward(FORWARDED)
    for record in records:
        tree.record(record, T + 4.5)
    whole = tree.end(ended, T + 4.5)
    assert whole is not None
    return whole.children[2].children[0].attributes


def test_an_answer_that_says_nothing_of_itself_gives_nothing() -> None:
    silent = replace(ENDED, answered=Answered())
    assert upstream(replace(PROMPT, msg_id=""), ended=silent) == {**COMMON, **CLIENT, **REQUEST}


def test_who_asked_comes_first() -> None:
    """Beyond 128 attributes the SDK drops the oldest."""
    assert list(upstream(TOKENS))[: len(COMMON)] == list(COMMON)


def test_of_content_nothing_is_told_unless_it_may_be() -> None:
    whole = upstream(PROMPT, TOKENS, TOOL, THOUGHT)
    assert "CANARY" not in str(whole)
    told = upstream(PROMPT, TOKENS, TOOL, THOUGHT, view=View(content=True))
    assert {name for name in told if name not in whole} == {"gen_ai.input.messages", "gen_ai.output.messages"}
    assert "CANARY-prompt" in str(told["gen_ai.input.messages"])
    assert all(word in str(told["gen_ai.output.messages"]) for word in ("CANARY-input", "CANARY-thought"))


def test_a_provider_that_is_known_has_an_address() -> None:
    told = upstream(view=View(servers={"openai-eu": Server("eu.api.openai.com", 8443)}))
    assert (told["server.address"], told["server.port"]) == ("eu.api.openai.com", 8443)


@pytest.mark.parametrize("ended", [ENDED, REFUSED])
def test_what_has_no_beginning_comes_to_nothing(ended: Ended) -> None:
    tree = Tree()
    tree.forward(FORWARDED)
    tree.record(TOKENS, T + 4.5)
    assert tree.end(ended, T + 4.5) is None


def test_it_ends_once() -> None:
    tree = Tree()
    tree.start(STARTED, T + 0.5)
    assert tree.end(ENDED, T + 4.5) is not None
    assert tree.end(ENDED, T + 4.5) is None


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (200, None),
        (404, None),
        (503, "the response had status 503"),
        (None, "no response was seen"),
    ],
)
def test_a_passthrough_fails_when_the_provider_does(status: int | None, error: str | None) -> None:
    """What the provider refuses is the client's affair."""
    node = passthrough(replace(PASSED, http_status=status))
    assert (node.name, node.start, node.end, node.error) == ("Passthrough", T, T + 0.5, error)
