"""Content and secrets are planted everywhere, and every sink is on; then everything that was said is searched."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.provider import ThreadedProvider
from sidecar.core.masks import MASK
from tests.e2e.planted import (
    ANSWER,
    ARGUMENT,
    CONTENT,
    INSTRUCTIONS,
    KEYS,
    MESSAGE,
    PATTERN,
    PROMPT,
    SECRET,
    TELLING,
    THOUGHT,
    UNRECORDED,
    Searched,
    planted,
)
from tests.e2e.scripts import Script


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory, provider: ThreadedProvider, script: Script) -> Iterator[Searched]:
    with planted(folder(tmp_path_factory), provider, script) as found:
        yield found


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory, provider: ThreadedProvider, script: Script) -> Iterator[Searched]:
    with planted(folder(tmp_path_factory), provider, script, mask=[PATTERN]) as found:
        yield found


@pytest.fixture(scope="module")
def usage(tmp_path_factory: pytest.TempPathFactory, provider: ThreadedProvider, script: Script) -> Iterator[Searched]:
    with planted(folder(tmp_path_factory), provider, script, content="usage") as found:
        yield found


@pytest.fixture(scope="module")
def none(tmp_path_factory: pytest.TempPathFactory, provider: ThreadedProvider, script: Script) -> Iterator[Searched]:
    with planted(folder(tmp_path_factory), provider, script, content="none") as found:
        yield found


def folder(factory: pytest.TempPathFactory) -> Path:
    return factory.mktemp("planted")


def test_full_has_content_where_it_is_wanted_and_nowhere_else(full: Searched) -> None:
    """Else the other tests could not fail."""
    for word in CONTENT:
        assert full.holders(word) >= {"journal", "log", "dumps"}, word
    assert full.holders(SECRET) >= {"journal", "log", "dumps"}
    for words in (CONTENT, UNRECORDED, (SECRET, *TELLING)):
        assert full.holders(*words) <= {"journal", "log", "dumps", "spans"}
    assert full.holders(*UNRECORDED) & {"journal", "log"} == (
        {"journal"} if full.holders(MESSAGE) > {"dumps"} else set()
    )
    for word in (ANSWER, INSTRUCTIONS, MESSAGE):
        assert "dumps" in full.holders(word)


def test_masked_has_content_and_no_secret_in_whole_or_in_part(masked: Searched) -> None:
    """However it is spelt, and wherever a stream parts it."""
    assert masked.holders(SECRET, *TELLING) == set()
    assert masked.holders(MASK) >= {"journal", "log", "dumps"}
    for word in (PROMPT, ARGUMENT, THOUGHT):
        assert masked.holders(word) >= {"journal", "log", "dumps"}, word


def test_usage_has_names_counts_and_hashes_and_no_content(usage: Searched) -> None:
    assert usage.holders(*CONTENT, ANSWER, INSTRUCTIONS, SECRET, *TELLING) == set()
    assert usage.holders("[withheld: ") >= {"journal", "log"}
    assert usage.holders("function_call") >= {"journal", "log"}
    assert usage.holders("body withheld") == {"dumps"}


def test_none_has_interceptions_and_tokens_alone(none: Searched) -> None:
    assert none.holders(*CONTENT, ANSWER, INSTRUCTIONS, SECRET, *TELLING) == set()
    assert none.holders("function_call", '"prompt_usage"', '"tool_usage"', '"model_thought"', "[withheld: ") == set()
    assert none.holders("resp_planted") >= {"journal", "log"}


@pytest.mark.parametrize("mode", ["full", "masked", "usage", "none"])
def test_no_credential_stands_anywhere_in_any_mode(mode: str, request: pytest.FixtureRequest) -> None:
    """Not even where a provider repeats it."""
    found: Searched = request.getfixturevalue(mode)
    assert found.holders(*KEYS) == set()
    assert "Traceback" not in found.said["log"].decode()


@pytest.mark.parametrize("mode", ["full", "masked", "usage", "none"])
def test_every_exchange_is_dumped_but_a_passthrough(mode: str, request: pytest.FixtureRequest) -> None:
    """That of the worker that was killed too, as far as it came: what its thread had not yet written is gone."""
    found: Searched = request.getfixturevalue(mode)
    kinds = [(name.split("/")[:2], name.partition(".")[2]) for name in found.names]
    assert kinds.count((["_refused", "_refused"], "response.txt")) == 1
    assert kinds.count((["openai", "aster-2"], "request.txt")) in {4, 5}
    assert kinds.count((["openai", "aster-2"], "response.txt")) in {4, 5}
