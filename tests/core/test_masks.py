"""What a pattern names stands nowhere afterwards, however JSON spells it, and the rest stays."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.masks import ESCAPED, MASK, MATCH, WORK, Masks, Work, is_json, pattern

SECRET = "sk-canary0123456789"  # noqa: S105 - a canary
MASKS = Masks([r"sk-[a-z0-9]{16}"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def escaped(text: str, every: int) -> str:
    """`text` as a JSON string in which each `every`th character is an escape."""
    spelt = (f"\\u{ord(one):04x}" if at % every == 0 else json.dumps(one)[1:-1] for at, one in enumerate(text))
    return f'"{"".join(spelt)}"'


@given(before=st.text(), after=st.text())
def test_what_matches_is_masked_and_the_rest_stays(before: str, after: str) -> None:
    assert MASKS.text(f"{before}|{SECRET}|{after}") == f"{before}|{MASK}|{after}"


@given(text=st.text() | st.text(st.characters(categories=["Cs"])))
def test_any_text_can_be_masked(text: str) -> None:
    """A lone surrogate, which no encoder takes, becomes U+FFFD."""
    MASKS.text(text).encode()
    MASKS.document(text).encode()


@given(value=JSON)
def test_a_document_without_matches_stays_to_the_byte(value: Any) -> None:  # noqa: ANN401 - any JSON
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        assert MASKS.document(text) == text


@given(value=JSON, every=st.integers(1, 5))
def test_no_escape_hides_a_match_and_json_stays_json(value: Any, every: int) -> None:  # noqa: ANN401 - any JSON
    said = escaped(f"{SECRET} in", every)
    masked = MASKS.document(f"{{{said}: [{json.dumps(value)}, {said}]}}")
    assert json.loads(masked) == {f"{MASK} in": [value, f"{MASK} in"]}


@given(every=st.integers(1, 5), depth=st.integers(0, 3))
def test_json_within_strings_of_json_hides_nothing_either(every: int, depth: int) -> None:
    """A tool's arguments are that in a request, and so is what a tool said of another."""
    text = escaped(SECRET, every)
    for _ in range(depth):
        text = json.dumps({"arguments": text})
    masked = MASKS.document(text)
    for _ in range(depth):
        masked = json.loads(masked)["arguments"]
    assert json.loads(masked) == MASK


@given(cut=st.integers(0, 40), every=st.integers(1, 3))
def test_what_is_cut_short_is_masked_as_well(cut: int, every: int) -> None:
    """It comes as a JSON string of what there was."""
    whole = f'{{"a": {escaped(SECRET, every)}, "b": "{"x" * 40}"}}'
    masked = json.loads(MASKS.document(whole[: len(whole) - 1 - cut]))
    assert SECRET not in masked
    assert MASK in masked


def test_a_number_that_matches_becomes_a_string() -> None:
    masks = Masks([r"\b4[0-9]{15}\b"])
    assert masks.document('{"card": 4111111111111111, "n": 1e3}') == f'{{"card": "{MASK}", "n": 1e3}}'


def test_names_with_their_values_can_match() -> None:
    """What is left need be no document: then it comes as a string."""
    assert Masks([r'"password":"[^"]*"']).document('{"password":"x"}') == json.dumps(f"{{{MASK}}}")


def test_one_pattern_after_the_other() -> None:
    assert Masks(["a+", "b+"]).text("aabbcab") == f"{MASK}{MASK}c{MASK}{MASK}"


MANY_MATCHES = "a " * (WORK // MATCH + 1)
MANY_ESCAPES = json.dumps(["\n"] * (WORK // ESCAPED + 1))


def test_very_many_matches_mask_everything() -> None:
    """Each costs microseconds, for which the event loop would wait."""
    few = "a " * (WORK // MATCH - 100)
    masks = Masks([r"\ba\b"])
    assert masks.text(few) == few.replace("a", MASK)
    assert masks.text(MANY_MATCHES) == MASK
    assert Masks([r"\ba\b"], work=2 * WORK).text(MANY_MATCHES) == MANY_MATCHES.replace("a", MASK)


def test_a_document_of_very_many_escapes_is_masked_whole() -> None:
    assert MASKS.document(MANY_ESCAPES) == json.dumps(MASK)
    assert Masks(["sk"], work=10 * WORK).document(MANY_ESCAPES) == MANY_ESCAPES


@pytest.mark.parametrize("depth", range(3))
def test_escapes_count_however_deep_they_stand(depth: int) -> None:
    """Each level of JSON in JSON has as many again."""
    each = json.dumps(["\n"] * (WORK // ESCAPED // 8))
    document = json.dumps([each] * 8)
    for _ in range(depth):
        document = json.dumps([document])
    assert MASKS.document(document) == json.dumps(MASK)


def test_what_is_spent_on_one_text_is_not_there_for_the_next() -> None:
    masks, work = Masks(["a"]), Work()
    assert masks.text("a", work) == MASK
    assert masks.text("b", work) == "b"
    assert masks.text("a" * WORK, work) == MASK
    assert masks.text("b", work) == MASK
    assert masks.document('"b"', work) == f'"{MASK}"'


def test_many_long_texts_and_many_patterns_are_too_much_as_well() -> None:
    """A model's words, though nothing matches in them."""
    masks, work = Masks([f"{one}[0-9]" for one in "abcdefgh"]), Work()
    text = "x" * (1 << 20)
    kept = [masks.text(text, work) for _ in range(16)]
    assert kept == sorted(kept, reverse=True)
    assert {text, MASK} == set(kept)


def test_nested_however_deep_it_comes_back() -> None:
    """Where no parser follows it comes as a string."""
    deep = "[" * 100_000 + f'"{SECRET}"' + "]" * 100_000
    assert json.loads(MASKS.document(deep)) == deep.replace(SECRET, MASK)


@given(every=st.integers(1, 5))
def test_words_that_are_known_are_masked_as_patterns_are(every: int) -> None:
    """A credential, and more of it before less of it."""
    masks = MASKS.knowing(["s3cret+word", "s3cret"], work=WORK)
    assert masks.text(f"s3cret+word {SECRET} s3cret") == f"{MASK} {MASK} {MASK}"
    assert masks.document(escaped("s3cret+word", every)) == f'"{MASK}"'
    assert bool(Masks().knowing(["s3cret"], work=WORK))


@given(text=st.text())
def test_without_patterns_nothing_changes(text: str) -> None:
    none = Masks()
    assert not none
    assert none.text(text) == none.document(text) == text


@pytest.mark.parametrize("text", ["(", "(?=a)", r"\1", "*"])
def test_what_re2_does_not_know_is_no_pattern(text: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Lookaheads and back-references take exponential time; and RE2 itself says nothing on standard error."""
    with pytest.raises(ValueError, match=r".*"):
        pattern(text)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("text", "told"), [("{}", True), ("1", True), ("{", False), ("", False), ("NaN", False)])
def test_json_is_what_a_strict_parser_takes(text: str, told: bool) -> None:  # noqa: FBT001 - as parametrized
    assert is_json(text) is told


@given(every=st.integers(1, 5))
def test_a_piece_of_text_is_masked_however_json_spells_it_there(every: int) -> None:
    """An event of a stream, or a body that was cut."""
    assert MASKS.spelt(f"data: {{{escaped(SECRET, every)}: ").startswith(f'data: {{"{MASK}"')
    assert Masks().spelt(SECRET) == SECRET


def test_a_piece_of_very_many_escapes_is_masked_whole() -> None:
    assert MASKS.spelt(MANY_ESCAPES) == MASK


def test_what_no_parser_unescapes_is_masked_too() -> None:
    masked = MASKS.spelt(rf'say "\q {SECRET}"')
    assert MASK in masked
    assert SECRET not in masked
    assert MASKS.spelt(r'say "\q"') == r'say "\q"'
