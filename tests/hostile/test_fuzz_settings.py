"""Settings files of any values: each loads, or is told to be wrong, a line for each wrong setting, and nothing else."""

import json
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.core.errors import BadSetting
from sidecar.settings import Settings, load
from sidecar.settings.section import Section
from tests.hostile.damage import EDITS, Edit, damaged

WHOLE = b"""
listen = "127.0.0.1:10000"
workers = 2
[identity]
header = "x-user"
[[providers]]
name = "one"
api_key = "canary-secret"
extra_headers = { x-key = "canary-secret" }
retry_on = ["5xx", 429]
[recorder]
url = "postgresql://u:canary-secret@127.0.0.1/d"
mask = ["canary-secret"]
[limits]
idle_timeout = 1.5
[console]
token = "canary-secret"
"""
TEXTS = st.text(max_size=8) | st.sampled_from([
    "", " ", "0", "127.0.0.1:0", "127.0.0.1:99999999999", "[::1]:80", ":::", "[", "http://[", "https://a:b@c:d/e?f#g",
    "http://\u2100.example", "sqlite:///x.db", "sqlite:////", "postgresql://u:p@h/d", "postgresql://[", "grpc://", "\0",
    "file:///etc/passwd", "a\nb", "\x1b[2J", "../../x", "(", "(?P<a", "(a+)+$", "*", "header",
    "jwt", "mtls", "%00", "\u202e", "::/129", "0.0.0.0/0", "\u0661\u0662", "127.0.0.1:\u0661\u0662", "5xx", "/dev/null",
    "/proc/self/mem", ".", "~",
])  # fmt: skip
NAMES = st.text(max_size=8) | st.sampled_from(["", "a\nb", "\x1b[2J", "a.b", "\u202e", "\0"])
SCALARS = (
    TEXTS
    | st.sampled_from(["/" * 5000, "x" * 5000])
    | st.booleans()
    | st.sampled_from([0, 1, -1, 64, 2**31, 2**63, 10**400])
    | st.integers(-(2**70), 2**70)
    | st.floats()
)
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(NAMES, SCALARS, max_size=2)


def sections() -> Iterator[tuple[str, type[Section], bool]]:
    """The tables, and whether each may stand more than once."""
    for name, field in Settings.model_fields.items():
        kinds = get_args(field.annotation)
        kind = kinds[0] if kinds else field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield name, kind, bool(kinds)


SECTIONS = {name: (tuple(kind.model_fields), is_list) for name, kind, is_list in sections()}
PLAIN = [name for name in Settings.model_fields if name not in SECTIONS]
TABLES = st.fixed_dictionaries(
    {},
    optional={
        name: st.dictionaries(st.sampled_from(fields) | NAMES, VALUES, max_size=3).map(
            lambda table, is_list=is_list: [table] if is_list else table
        )
        for name, (fields, is_list) in SECTIONS.items()
    },
)
FILES = st.tuples(st.dictionaries(st.sampled_from(PLAIN) | NAMES, VALUES, max_size=2), TABLES)


def toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case float():
            return str(value) if math.isfinite(value) else {"inf": "inf", "-inf": "-inf"}.get(str(value), "nan")
        case dict():
            return "{" + ", ".join(f"{toml(str(key))} = {toml(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case _:
            return str(value)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where to write one; the directory is ours, and the environment says nothing."""
    folder = tmp_path_factory.mktemp("settings")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in os.environ:
            if name.upper().startswith(("AIBRIDGE_", "OPENAI_", "OTEL_", "SSL_CERT_")):
                patch.delenv(name)
        yield folder / "hostile.toml"


def told(file: Path, data: bytes) -> list[str]:
    """What is wrong with these settings, line by line; nothing, if they can be used."""
    file.write_bytes(data)
    try:
        settings = load(file)
    except BadSetting as error:
        return str(error).split("\n")
    assert settings.policy().providers
    settings.gate()
    return []


def plain(lines: list[str]) -> bool:
    """Whether each is a line as it should be, in printable characters, not too long to be read."""
    return all(line.isprintable() and len(line) < 2000 and re.search(r" = .*: .|: .*\(", line) for line in lines)


def test_the_whole_file_is_sound(file: Path) -> None:
    """What others are variations of."""
    assert told(file, WHOLE) == []


@given(written=FILES)
@example(written=({"workers": 10**400}, {}))
@example(written=({"a\nb": 1}, {}))
@example(written=({}, {"tls": {"cert_file": "x" * 5000}}))
@example(written=({}, {"limits": {"\x1b[2J": 1}}))
def test_any_values_are_settings_or_told_not_to_be(
    file: Path, written: tuple[dict[str, object], dict[str, object]]
) -> None:
    top, tables = written
    lines = [f"{toml(name)} = {toml(value)}\n" for name, value in {**top, **tables}.items()]
    assert plain(told(file, "".join(lines).encode("utf-8", "replace")))


@given(edits=EDITS)
def test_damaged_files_are_told_and_no_secret_of_theirs_is(file: Path, edits: list[Edit]) -> None:
    lines = told(file, damaged(WHOLE, edits))
    assert plain(lines)
    assert "canary" not in "".join(lines)
