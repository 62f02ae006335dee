"""What the recorder, the traces and the logs rely on: records are values, and some of their words are stored."""

from typing import get_args

import pytest
from msgspec.structs import fields

from sidecar.core.records import CredentialKind, Ended, ErrorType, Failure, Passed, Record, Thought, Tool

KINDS = get_args(Record)
NOT_INTERCEPTED = {Passed}
THOUGHT = Thought(interception="i", at=1.0, msg_id="resp_1", source="commentary", text="hm")


def names(kind: type) -> list[str]:
    return [field.name for field in fields(kind)]


def test_the_words_for_an_end_are_the_documented_ones() -> None:
    """They are stored, counted and searched for: none may change its spelling."""
    assert [str(kind) for kind in ErrorType] == [
        *("bad_request", "unauthorized", "rate_limited", "timeout", "overloaded", "server_error"),
        *("rejected", "disconnected", "unobserved", "lost", "unread", "unknown"),
    ]


def test_the_words_for_a_credential_are_the_documented_ones() -> None:
    assert [str(kind) for kind in CredentialKind] == ["byok", "centralized"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_record_says_what_of_and_when(kind: type) -> None:
    """Only a passthrough is of no interception."""
    assert ("interception" in names(kind)) == (kind not in NOT_INTERCEPTED)
    assert "at" in names(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_no_record_knows_how_it_is_stored(kind: type) -> None:
    """A row's id is the recorder's."""
    assert not {"id", "created_at", "table"} & set(names(kind))


@pytest.mark.parametrize("kind", [*KINDS, Failure])
def test_every_part_of_a_record_is_named(kind: type) -> None:
    """There are too many texts to tell them by their places."""
    with pytest.raises(TypeError, match="positional"):
        kind("x")


def test_records_are_values() -> None:
    assert Thought(text="hm", source="commentary", msg_id="resp_1", at=1.0, interception="i") == THOUGHT
    assert len({THOUGHT, Thought(interception="i", at=1.0, msg_id="resp_1", source="commentary", text="hm")}) == 1


@pytest.mark.parametrize("name", ["text", "unforeseen"])
def test_nobody_changes_a_record(name: str) -> None:
    """It is in the hands of the journal's thread and of the traces at once."""
    with pytest.raises(AttributeError):
        setattr(THOUGHT, name, "x")


def test_a_tool_is_the_clients_own_and_worked_unless_it_says_so() -> None:
    tool = Tool(interception="i", at=1.0, msg_id="", item_id=None, tool_call_id=None, kind="x", name="x", input=None)
    assert (tool.server_url, tool.injected, tool.invocation_error) == (None, False, None)


def test_an_end_without_a_failure_is_completed() -> None:
    """So a failure must be said, even if it is None."""
    with pytest.raises(TypeError):
        Ended(interception="i", at=1.0, http_status=200, provider_request_id=None)  # type: ignore[call-arg]  # the point
