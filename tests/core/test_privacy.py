"""What passes the gate, in each mode; the sinks behind it are tested end to end."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields, replace

from sidecar.core.masks import MASK, Masks
from sidecar.core.privacy import Content, Gate
from sidecar.core.records import Answered, Parameters, Record
from sidecar.core.text import excerpt
from tests.telemetry.interceptions import (
    ENDED,
    FORWARDED,
    LIMITED,
    PASSED,
    PROMPT,
    STARTED,
    THOUGHT,
    TOKENS,
    TOOL,
)

ALL: tuple[Record, ...] = (STARTED, FORWARDED, PROMPT, TOKENS, TOOL, THOUGHT, ENDED, PASSED)
CONTENT = ("CANARY-open-prompt", "CANARY-prompt", "CANARY-input", "CANARY-thought")
SECRET = "sk-canary0123456789"  # noqa: S105 - a canary
MASKS = Masks([r"sk-[a-z0-9]{16}"])
# What the operator says, or we do: who asked is accounted for by name, and a hint is all there is of a key.
OURS = {
    "interception", "initiator", "actor_metadata", "provider", "provider_name", "client",
    "credential_kind", "credential_hint", "trace_id", "actor", "method", "source",
}  # fmt: skip


def withheld(text: str) -> str:
    return f"[withheld: {len(text.encode())} bytes, sha256 {hashlib.sha256(text.encode()).hexdigest()}]"


def test_full_lets_everything_pass_as_it_is() -> None:
    """The very same: who does not ask for less does not pay for it."""
    assert Gate()(ALL) is ALL


def test_usage_keeps_names_and_counts_and_of_content_length_and_hash() -> None:
    assert Gate(Content.USAGE)(ALL) == (
        replace(STARTED, prompt=withheld("CANARY-open-prompt")),
        FORWARDED,
        replace(PROMPT, text=withheld("CANARY-prompt")),
        TOKENS,
        replace(TOOL, input=json.dumps(withheld('{"path":"CANARY-input"}'))),
        replace(THOUGHT, text=withheld("CANARY-thought")),
        ENDED,
        PASSED,
    )


def test_none_keeps_interceptions_and_tokens_alone() -> None:
    assert Gate(Content.NONE)(ALL) == (replace(STARTED, prompt=None), FORWARDED, TOKENS, ENDED, PASSED)


@pytest.mark.parametrize("content", [Content.USAGE, Content.NONE])
@pytest.mark.parametrize("masks", [Masks(), MASKS])
def test_no_content_passes_but_in_full(content: Content, masks: Masks) -> None:
    gate = Gate(content, masks)
    assert (gate.content, gate.masks) == (content, masks)
    told = repr(gate((*ALL, replace(TOOL, invocation_error="CANARY-input"))))
    assert [word for word in CONTENT if word in told] == []


def test_what_is_not_there_is_not_withheld() -> None:
    assert Gate(Content.USAGE)([replace(TOOL, input=None)]) == (replace(TOOL, input=None),)


@pytest.mark.parametrize("record", [*ALL, LIMITED], ids=lambda record: type(record).__name__)
def test_a_secret_is_masked_wherever_others_say_it(record: Record) -> None:
    """In every text of every record that a client or a provider chose: a field that is added is found here."""
    planted = with_secret(record)
    assert SECRET in repr(planted) or record is FORWARDED
    [passed] = Gate(masks=MASKS)([planted])
    assert SECRET not in repr(passed)
    assert repr(passed) == repr(planted).replace(SECRET, MASK)


def with_secret(value: Any) -> Any:  # noqa: ANN401 - any record
    """The value with the secret in each of its texts that are not ours."""
    said = {field.name: getattr(value, field.name) for field in fields(value) if field.name not in OURS}
    texts = {name: f"a {SECRET}" for name, text in said.items() if isinstance(text, str)}
    texts |= {name: f'{{"a": "{SECRET}"}}' for name in texts if name == "input"}
    for name, inner in said.items():
        match inner:
            case Parameters():
                texts[name] = Parameters(**dict.fromkeys(_texts(Parameters), SECRET))
            case Answered():
                texts[name] = Answered(**dict.fromkeys(_texts(Answered), SECRET))
    if getattr(value, "failure", None):
        texts["failure"] = replace(value.failure, message=f"it said {SECRET}")
    return replace(value, **texts)


def _texts(kind: type) -> list[str]:
    return [field.name for field in fields(kind) if "str" in str(field.type)]


@pytest.mark.parametrize("escape", [SECRET, "".join(f"\\u{ord(one):04x}" for one in SECRET)])
def test_a_tool_s_input_is_masked_as_json(escape: str) -> None:
    [passed] = Gate(masks=MASKS)([replace(TOOL, input=f'{{"key":"{escape}"}}')])
    assert passed == replace(TOOL, input=f'{{"key":"{MASK}"}}')


def test_a_hash_is_one_of_what_was_masked() -> None:
    """Else who guesses the secret could see that he is right."""
    [passed] = Gate(Content.USAGE, MASKS)([replace(PROMPT, text=f"my key is {SECRET}")])
    assert passed == replace(PROMPT, text=withheld(f"my key is {MASK}"))


@given(at=st.integers(1, len(SECRET) - 1), is_json=st.booleans(), before=st.sampled_from(["", "it is ", "x" * 5000]))
def test_a_secret_that_a_cut_parts_is_not_kept_in_part(at: int, is_json: bool, before: str) -> None:  # noqa: FBT001
    """No pattern matches half of it, so the last word before a cut goes."""
    whole = before + SECRET + "y" * 100
    kept = excerpt(whole, len(before) + at)
    record: Any = replace(TOOL, input=json.dumps(kept, ensure_ascii=False)) if is_json else replace(PROMPT, text=kept)
    [passed] = Gate(masks=MASKS)([record])
    said = json.loads(passed.input) if is_json else passed.text
    assert said.endswith(kept[kept.index("…") :])
    assert SECRET[:at] + "…" not in said
    assert f"{MASK}…" in said


def test_what_is_too_much_to_look_at_is_masked_and_costs_nothing_else() -> None:
    """Tools and thoughts, of which there may be thousands, share what may be spent; an interception has its own."""
    many = replace(THOUGHT, text=f"{SECRET} " * 1000)
    thoughts = Gate(masks=MASKS)((many,) * 100)
    assert thoughts[0] == replace(many, text=f"{MASK} " * 1000)
    assert thoughts[-1] == replace(many, text=MASK, msg_id=MASK)
    assert Gate(masks=MASKS)((PROMPT, TOKENS, *(many,) * 100, ENDED))[::102] == (PROMPT, ENDED)


def test_what_was_cut_between_words_loses_none() -> None:
    kept = excerpt("one two three", 8)
    [passed] = Gate(masks=MASKS)([replace(PROMPT, text=kept)])
    assert passed == replace(PROMPT, text=kept)
