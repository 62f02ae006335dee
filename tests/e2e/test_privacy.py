"""Content and secrets are planted everywhere, and every sink is on; then everything that was said is searched."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.provider import ThreadedProvider
from sidecar.core.masks import MASK
from tests.e2e.planted import (
    CODE,
    CONTENT,
    KEYS,
    PATTERN,
    PROMPT,
    SECRET,
    TELLING,
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
    for word in (*CONTENT, SECRET):
        assert full.holders(word) == {"journal", "log", "dumps", "spans"}, word
    assert full.holders(*TELLING) <= {"journal", "log", "dumps", "spans"}


def test_what_is_not_recorded_stands_in_full_dumps_alone(full: Searched) -> None:
    for word in UNRECORDED:
        assert full.holders(word) == {"dumps"}, word


@pytest.mark.parametrize(
    ("mode", "holders"),
    [
        ("full", {"journal", "spans", "dumps"}),
        ("masked", {"journal", "spans", "dumps"}),
        ("usage", {"journal", "spans"}),
        ("none", {"journal", "spans"}),
    ],
)
def test_a_provider_s_word_for_its_error_is_recorded(
    mode: str, holders: set[str], request: pytest.FixtureRequest
) -> None:
    """It is no content, unlike what the provider says beside it."""
    found: Searched = request.getfixturevalue(mode)
    assert found.holders(CODE) == holders


@pytest.mark.parametrize(
    ("mode", "prompts"),
    [
        ("full", [f"{PROMPT} {SECRET}"]),
        ("masked", [f"{PROMPT} {MASK}"]),
        ("usage", ["[withheld: "]),
        ("none", []),
    ],
)
def test_the_prompt_of_a_worker_that_was_killed_is_said_as_the_mode_lets_it(
    mode: str, prompts: list[str], request: pytest.FixtureRequest
) -> None:
    """By its parent, from what the journal kept of it."""
    found: Searched = request.getfixturevalue(mode)
    start, *said, end = found.lost()
    assert [line["record_type"] for line in (start, end)] == ["interception_start", "interception_end"]
    assert [line["record_type"] for line in said] == ["prompt_usage"] * len(prompts)
    for line, prompt in zip(said, prompts, strict=True):
        assert line["prompt"].startswith(prompt)


def test_masked_has_content_and_no_secret_in_whole_or_in_part(masked: Searched) -> None:
    """However it is spelt, and wherever a stream parts it."""
    assert masked.holders(SECRET, *TELLING) == set()
    for word in (*CONTENT, MASK):
        assert masked.holders(word) == {"journal", "log", "dumps", "spans"}, word


def test_usage_has_names_counts_and_hashes_and_no_content(usage: Searched) -> None:
    assert usage.holders(*CONTENT, *UNRECORDED, SECRET, *TELLING) == set()
    assert usage.holders("[withheld: ") >= {"journal", "log"}
    assert usage.holders("function_call") >= {"journal", "log"}
    assert usage.holders("body withheld") == {"dumps"}


def test_none_has_interceptions_and_tokens_alone(none: Searched) -> None:
    assert none.holders(*CONTENT, *UNRECORDED, SECRET, *TELLING) == set()
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
