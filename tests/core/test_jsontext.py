import json
import tracemalloc
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec import Raw

from sidecar.core import jsontext
from sidecar.core.jsontext import MAX_MEMBERS, MAX_VALUES, Document, NotJson, commas, lenient, pretty, strict, value
from sidecar.core.mending import MAX_LENIENT_BYTES, TooComplex

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters()), inner, max_size=4),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(st.text(st.characters(), max_size=5), VALUES, max_size=4)
# Where it is put, it may break a document or leave it one.
SPLINTERS = st.sampled_from(
    (
        *(
            b'"',
            b"\\",
            b",",
            b":",
            b"{",
            b"}",
            b"[",
            b"]",
            b"-",
            b"+",
            b".",
            b"0",
            b"1",
            b"e",
            b" ",
            b"\t",
            b"\n",
            b"\r",
        ),
        *(b"\0", b"\x0b", b"\x1f", b"\x7f", b"\xff", b"\xc3", b"\xed\xa0\x80", "\u2028".encode(), b"\xef\xbb\xbf"),
        *(rb"\ud800", rb"\uDC00", rb"\u00e9", rb"\x", b"/", b"//", b"'", b"NaN", b"Infinity", b"null", b"true"),
    )
)
BREAKS = st.lists(st.tuples(st.integers(0, 500), SPLINTERS), min_size=1, max_size=3)


def whole(found: object) -> object:
    """A value as those see it who know no lone surrogates."""
    match found:
        case str():
            return "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in found)
        case list():
            return [whole(item) for item in found]
        case dict():
            return {whole(name): whole(item) for name, item in found.items()}
    return found


def opened(raw: Raw) -> object:
    """A value with everything in it."""
    match jsontext.kind(raw):
        case "{":
            return {name: opened(item) for name, item in jsontext.members(raw).items()}
        case "[":
            return [opened(item) for item in jsontext.items(raw)]
        case '"':
            return jsontext.string(raw)
    words = {"null": None, "true": True, "false": False}
    return words[jsontext.text(raw)] if jsontext.text(raw) in words else number(jsontext.text(raw))


def number(text: str) -> tuple[str]:
    """As it stands, and no string: what a reader makes of its value is not compared."""
    return (text,)


def ours(read: Callable[[bytes], Document | Mapping[str, Raw] | None], data: bytes) -> object:
    """All that is in a document; None where it is none."""
    try:
        found = read(data)
    except NotJson:
        return None
    members = found.members if isinstance(found, Document) else found
    return members and {name: opened(raw) for name, raw in members.items()}


def theirs(text: str, constant: Callable[[str], None]) -> object:
    try:
        found = json.loads(text, parse_int=number, parse_float=number, parse_constant=constant)
    except ValueError:
        return None
    return whole(found) if isinstance(found, dict) else None


def strictly(data: bytes) -> object:
    """What the standard library finds, once NaN and Infinity are taken from it."""

    def no_constant(name: str) -> None:
        raise ValueError(name)

    try:
        return theirs(data.decode(), no_constant)
    except UnicodeDecodeError:
        return None


def leniently(data: bytes) -> object:
    return theirs(data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace"), lambda _: None)


def encoded(document: dict[str, Any], *, ascii_only: bool = False, indent: int | str | None = None) -> bytes:
    return json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "replace")


def broken(data: bytes, breaks: list[tuple[int, bytes]]) -> bytes:
    for place, splinter in breaks:
        at = place % (len(data) + 1)
        data = data[:at] + splinter + data[at:]
    return data


# A whole document


@given(document=DOCUMENTS, ascii_only=st.booleans(), indent=st.sampled_from([None, 2, "\t\r\n"]))
def test_any_document_is_read_as_the_standard_library_reads_it(
    document: dict[str, Any],
    ascii_only: bool,  # noqa: FBT001 - hypothesis' argument
    indent: int | str | None,
) -> None:
    data = encoded(document, ascii_only=ascii_only, indent=indent)
    assert ours(strict, data) == strictly(data)
    assert ours(lenient, data) == strictly(data)


@given(data=st.builds(broken, DOCUMENTS.map(encoded), BREAKS))
def test_what_is_a_document_to_the_standard_library_is_one(data: bytes) -> None:
    """Strictly so, and leniently; nothing else is raised."""
    assert ours(strict, data) == strictly(data)
    assume(b"-NaN" not in data)  # is here null, too
    assert ours(lenient, data) == leniently(data)


@given(data=st.binary(max_size=50) | st.lists(SPLINTERS, max_size=12).map(b"".join))
def test_whatever_it_is_nothing_else_is_raised(data: bytes) -> None:
    assert ours(strict, data) == strictly(data)
    assert ours(strict, b'{"":%s}' % data) == strictly(b'{"":%s}' % data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the body is not a JSON object"),
        (b" ", "the body is not a JSON object"),
        (b"[]", "the body is not a JSON object"),
        (b"null", "the body is not a JSON object"),
        (b'{"a":NaN}', "the body is not a JSON object"),
        (b'{"a":1,}', "the body is not a JSON object"),
        (b"{} {}", "the body is not a JSON object"),
        (b"\xef\xbb\xbf{}", "the body is not a JSON object"),
        ("{}".encode("utf-16-le"), "the body is not a JSON object"),
        ("{}".encode("utf-16"), "the body is not UTF-8"),
        (b'{"a":"\xff"}', "the body is not UTF-8"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "the body is nested too deeply"),
    ],
)
def test_what_is_no_document_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(NotJson) as raised:
        strict(data)
    assert str(raised.value) == message


def test_a_member_that_stands_twice_is_told() -> None:
    """In any spelling of its escapes; the last is what most readers take."""
    assert strict(rb'{"a":1,"b":2,"\u0061":[3],"a":4}') == Document(
        members={"a": Raw(b"4"), "b": Raw(b"2")}, twice=(("a", Raw(b"1")), ("a", Raw(b"[3]")), ("a", Raw(b"4")))
    )
    assert strict(rb'{"\ud800":1,"\udfff":2}').twice == (("\ufffd", Raw(b"1")), ("\ufffd", Raw(b"2")))


@pytest.mark.parametrize("odd", [b"\xff", rb"\ud800"])
def test_a_lenient_reader_mends_and_sees_the_rest(odd: bytes) -> None:
    found = lenient(b'\xef\xbb\xbf{"a\\"":"%s NaN","b":[NaN,-Infinity]}' % odd)
    assert found is not None
    assert {name: opened(raw) for name, raw in found.items()} == {'a"': "\ufffd NaN", "b": [None, None]}


@pytest.mark.parametrize("odd", [b'","\xff":"', b'","y":NaN,"z":"', rb"\ud800"])
def test_a_long_document_is_mended_with_pauses(odd: bytes) -> None:
    """The first is for what was tried in vain."""
    data = b'{"a":"%s%s"}' % (odd, b"x " * 1_000_000)
    *pauses, found = jsontext.leniently(data)
    assert len(pauses) > 7
    assert set(pauses) == {None}
    assert found == lenient(data) is not None


@pytest.mark.parametrize("odd", [rb"\ud800", b'","\xff":"', b'","y":NaN,"z":"'])
def test_what_is_very_long_is_not_mended_without_pauses(odd: bytes) -> None:
    """Nor, but for its surrogates, with them."""
    data = b'{"a":"%s%s"}' % (odd, b"x " * (MAX_LENIENT_BYTES // 2))
    assert lenient(data) is None
    if odd == rb"\ud800":
        assert list(jsontext.leniently(data))[-1] is not None
    else:
        with pytest.raises(TooComplex):
            list(jsontext.leniently(data))


@pytest.mark.parametrize("odd", [b"", rb"\ud800"])
def test_what_is_too_much_to_read_is_not_taken_for_something_else(odd: bytes) -> None:
    """Though it might be. What is too deep for the parser could be anything."""
    for data in (b'{"a":"%s%s"}' % (odd, b"," * 1_000_001), b'{"a":"%s","b":%s' % (odd, b"[" * 100_000)):
        with pytest.raises(TooComplex):
            list(jsontext.leniently(data))
    with pytest.raises(NotJson):
        list(jsontext.leniently(b'{"a":"%s",}' % odd))


# Bounds


def test_the_values_of_a_document_are_bounded() -> None:
    """A comma in a text is none, strictly seen; a lenient reader does not look so closely."""
    most = b'{"a":[%s0]}' % (b"0," * MAX_VALUES)
    assert len(jsontext.items(strict(most).members["a"])) == MAX_VALUES + 1
    assert lenient(most) is not None
    text = b'{"a":"%s"}' % (b"," * (MAX_VALUES + 1))
    assert strict(text).members.keys() == {"a"}
    more = most.replace(b"[", b"[0,")
    with pytest.raises(TooComplex):
        strict(more)
    assert lenient(more) is lenient(text) is None


@pytest.mark.parametrize("odd", [b"", rb"\ud800"])
def test_the_members_of_an_object_are_bounded(odd: bytes) -> None:
    """Whether it had to be mended or not, and wherever it stands once it is long."""
    most = b"{%s}" % b",".join(b'"%d":"%s"' % (number, odd) for number in range(MAX_MEMBERS))
    assert len(strict(most).members) == len(lenient(most) or ()) == len(jsontext.members(Raw(most))) == MAX_MEMBERS
    more = most.replace(b"{", b'{"":"",')
    with pytest.raises(TooComplex):
        strict(more)
    assert lenient(more) is None
    assert jsontext.members(Raw(more)) == {}


@pytest.mark.parametrize(
    "rest", [b"[%s0]" % (b"0," * 900_000), b'"%s"' % (b"x" * 4_000_000), b"[" * 500 + b"]" * 500 + b" " * 1_000_000]
)
def test_what_nobody_asked_for_is_not_built(rest: bytes) -> None:
    """A list of a million values would take many times its text."""
    data = b'{"a":1,"b":%s}' % rest
    tracemalloc.start()
    assert strict(data).members["a"] == Raw(b"1")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < len(data) // 50


@pytest.mark.parametrize("shift", range(6))
def test_commas_are_counted_outside_of_texts(shift: int) -> None:
    """In slices, whose ends may fall into escapes and texts."""
    piece = rb'"a,\\",",\",\\\",",'
    data = b" " * shift + piece * 100_000
    assert commas(data, 1_000_000) == 200_000
    assert commas(b'"' + b"\\" * 600_000 + b'",,', 10) == 2
    assert commas(b'"' + b"\\" * 600_001 + b'",,', 10) == 0


def test_commas_are_counted_no_further_than_needed() -> None:
    assert 10 < commas(b"," * 5_000_000, 10) < 1_000_000


# Its values


@pytest.mark.parametrize(
    ("raw", "members"),
    [
        (None, {}),
        (Raw(b""), {}),
        (Raw(b"[]"), {}),
        (Raw(b'"{}"'), {}),
        (Raw(b"{}"), {}),
        (Raw(b'{"a":{"b":1}}'), {"a": Raw(b'{"b":1}')}),
        (Raw(b'{"\xff":"\xff"}'), {"\ufffd": Raw('"\ufffd"'.encode())}),
        (Raw(b'{"\xff":1}'.ljust(70_000)), {"\ufffd": Raw(b"1")}),
        (Raw(b'{"a":' * 100_000 + b"1" + b"}" * 100_000), {}),
    ],
    ids=range(9),
)
def test_members_are_an_objects(raw: Raw | None, members: dict[str, Raw]) -> None:
    """Invalid UTF-8, which a lenient reader left standing where it was not asked for, is mended here."""
    assert jsontext.members(raw) == members


@pytest.mark.parametrize(
    ("raw", "items"),
    [
        (None, []),
        (Raw(b""), []),
        (Raw(b"{}"), []),
        (Raw(b'"[]"'), []),
        (Raw(b'[1, "\xff",[]]'), [Raw(b"1"), Raw(b'"\xff"'), Raw(b"[]")]),
        (Raw(b"[" * 100_000 + b"]" * 100_000), []),
    ],
    ids=range(6),
)
def test_items_are_an_arrays(raw: Raw | None, items: list[Raw]) -> None:
    assert jsontext.items(raw) == items


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (None, None),
        (Raw(b""), None),
        (Raw(b"1"), None),
        (Raw(b'["a"]'), None),
        (Raw(b'""'), ""),
        (Raw(rb'"\u0061\n"'), "a\n"),
        (Raw(b'"a\xffb"'), "a\ufffdb"),
        (Raw(b'"\xff%s"' % bytes(b" " * (MAX_LENIENT_BYTES - 3))), "\ufffd" + " " * (MAX_LENIENT_BYTES - 3)),
        (Raw(b'"\xff%s"' % bytes(b" " * (MAX_LENIENT_BYTES - 2))), None),
    ],
    ids=range(9),
)
def test_a_string_is_its_text(raw: Raw | None, text: str | None) -> None:
    """Mended only up to a bound."""
    assert jsontext.string(raw) == text


@pytest.mark.parametrize(
    ("raw", "count"),
    [
        *((None, 0), (Raw(b""), 0), (Raw(b"7"), 7), (Raw(b"-7"), 0), (Raw(b"1.5"), 0), (Raw(b"1e-3"), 0)),
        *((Raw(b"5.0"), 5), (Raw(b"1e2"), 100), (Raw(b"1.25E+2"), 125), (Raw(b"-5.0"), 0), (Raw(b"-0.0"), 0)),
        *((Raw(b"1e300"), 2**63 - 1), (Raw(b"1e999"), 2**63 - 1), (Raw(b"-1e999"), 0), (Raw(b"5." + b"0" * 30), 0)),
        *((Raw(b'"7"'), 0), (Raw(b"[7]"), 0), (Raw(b"null"), 0), (Raw(b"true"), 0), (Raw(b"-0"), 0)),
        *((Raw(b"%d" % 2**63), 2**63 - 1), (Raw(b"9" * 30), 2**63 - 1), (Raw(b"9" * 31), 2**63 - 1)),
        *((Raw(b"9" * 5_000_000), 2**63 - 1), (Raw(b"-" + b"9" * 5_000_000), 0)),
    ],
    ids=range(25),
)
def test_a_count_is_an_integer_of_64_bits(raw: Raw | None, count: int) -> None:
    """Of any length: Python refuses to read one of more than 4300 digits, and takes its time with others."""
    assert jsontext.count(raw) == count


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ("{}", "{}"),
        (' {"a": 1} ', ' {"a": 1} '),
        ("1e999", "1e999"),
        ('"a\ud800"', '"a\ufffd"'),
        (r'{"a":"\ud800"}', r'{"a":"\ufffd"}'),
        ("", None),
        ("NaN", None),
        ("{} {}", None),
        ("{'a':1}", None),
        (r'"\ud800"' * 2, None),
        (r'["%s"]' % (r"\ud800" * 20_001), None),
        ("[" * 100_000 + "]" * 100_000, None),
    ],
    ids=range(12),
)
def test_a_text_may_be_json_itself(document: str, text: str | None) -> None:
    assert value(document) == text


def test_json_is_shown_over_several_lines_and_what_is_none_or_very_deep_as_it_is() -> None:
    """Whoever asks something so deep has a page as anybody has."""
    assert pretty('{"a":[1.50]}') == '{\n  "a": [\n    1.50\n  ]\n}'
    for text in ("no JSON", "[" * 100_000 + "]" * 100_000, '{"a":' * 3000 + "1" + "}" * 3000):
        assert pretty(text) == text


def test_json_is_not_laid_out_where_that_would_make_it_many_times_as_long() -> None:
    """A thousand levels around many values: each value has a line of its own, with two thousand blanks."""
    shallow, deep = f"[{'1,' * 50_000}1]", f"{'[' * 900}{'1,' * 50_000}1{']' * 900}"
    assert len(pretty(shallow)) > len(shallow)
    assert pretty(deep) == deep
    quoted = json.dumps(["[" * 100_000, 1])
    assert pretty(quoted).count("\n") == 3
