"""The file of `identity.keys_file`: clients' keys, and whose they are."""

import re
from pathlib import Path

from pydantic import SecretStr

from sidecar.core.errors import BadSetting
from sidecar.settings.refusals import line

_SETTING = "identity.keys_file"
# Sixteen characters can be guessed by nobody who has to ask a server.
_LINE = re.compile(r"([\x21-\x7e]{16,})[ \t]+([\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?)")


def clients(file: Path) -> tuple[tuple[SecretStr, str], ...]:
    """The keys with their actors, in their order; BadSetting, which shows no key, where a line is wrong.

    UTF-8, a line each: the key (16 visible ASCII characters at least), blanks, the actor (printable ASCII). Empty lines
    and such that begin with `#` do not count.
    """
    try:
        written = file.read_text("utf-8").splitlines()
    except OSError as error:
        raise BadSetting(line(_SETTING, str(file), f"cannot be read ({error.strerror})")) from None
    except UnicodeDecodeError:
        raise BadSetting(line(_SETTING, str(file), "is not text; allowed: a file of keys and actors")) from None
    lines = ((number, text.strip()) for number, text in enumerate(written, 1))
    found = [_client(file, number, text) for number, text in lines if text and not text.startswith("#")]
    if len({key.get_secret_value() for key, _ in found}) < len(found) or not found:
        raise BadSetting(line(_SETTING, str(file), "allowed: at least one key, and each key once"))
    return tuple(found)


def _client(file: Path, number: int, text: str) -> tuple[SecretStr, str]:
    parts = _LINE.fullmatch(text)
    if parts is None:
        allowed = "a key of 16 visible ASCII characters at least, a blank, the actor in printable ASCII"
        raise BadSetting(line(_SETTING, str(file), f"line {number}; allowed: {allowed}"))
    return SecretStr(parts[1]), parts[2]
