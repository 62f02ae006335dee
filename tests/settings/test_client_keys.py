from pathlib import Path

import pytest

from sidecar.core.errors import BadSetting
from sidecar.settings import load
from sidecar.settings.client_keys import clients

KEY, OTHER = "aib-0123456789abcdef", "aib-fedcba9876543210"
LINE = "allowed: a key of 16 visible ASCII characters at least, a blank, the actor in printable ASCII"
EACH = "allowed: at least one key, and each key once"


def keys(text: str | bytes) -> Path:
    file = Path("keys")
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_a_line_is_a_key_and_whose_it_is() -> None:
    found = clients(keys(f"# two\n\n {KEY} grace hopper \r\n{OTHER}\t \tspiffe://mesh/agent#1"))
    assert [(key.get_secret_value(), actor) for key, actor in found] == [
        (KEY, "grace hopper"),
        (OTHER, "spiffe://mesh/agent#1"),
    ]


def test_keys_are_in_no_text() -> None:
    assert KEY not in repr(clients(keys(f"{KEY} grace")))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", EACH),
        ("# nobody\n", EACH),
        (f"{KEY} grace\n{KEY} alan", EACH),
        (KEY, f"line 1; {LINE}"),
        (f"{OTHER} grace\n{KEY}\t", f"line 2; {LINE}"),
        (f"{KEY[:15]} grace", f"line 1; {LINE}"),
        (f"{KEY} gr\N{LATIN SMALL LETTER A WITH DIAERESIS}ce", f"line 1; {LINE}"),
        (f"{KEY}\N{EURO SIGN} grace", f"line 1; {LINE}"),
        (f"{KEY} gr\x00ace", f"line 1; {LINE}"),
        (f"{KEY} \xff".encode("latin-1"), "is not text; allowed: a file of keys and actors"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line_without_a_key(text: str | bytes, told: str) -> None:
    with pytest.raises(BadSetting) as raised:
        clients(keys(text))
    assert str(raised.value) == f'identity.keys_file = "keys": {told}'


def test_a_file_that_is_not_there_any_more_is_named() -> None:
    with pytest.raises(
        BadSetting, match=r'^identity.keys_file = "gone": cannot be read \(No such file or directory\)$'
    ):
        clients(Path("gone"))


def test_the_file_is_read_when_settings_are() -> None:
    """A wrong one is told before anything starts."""
    keys("short grace")
    file = Path("some.toml")
    file.write_text('identity = {source = "api_key", keys_file = "keys"}')
    with pytest.raises(BadSetting, match="line 1; allowed: a key of 16"):
        load(file)
