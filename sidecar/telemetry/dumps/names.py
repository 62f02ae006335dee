"""Where a dump lies: a folder per provider and model, whatever a client calls a model."""

import hashlib
import re
from typing import Final

REFUSED: Final = "_refused"  # the folder of what never had a model; no provider's name has an underscore
REQUEST: Final = ".request.txt"
RESPONSE: Final = ".response.txt"
_PLAIN: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")  # lower case: some file systems know no other
# What such file systems keep for devices, with any extension (Windows, "Naming Files, Paths, and Namespaces").
_DEVICES: Final = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?")
_ODD: Final = re.compile(r"[^a-z0-9]+")
_SHOWN = 40  # characters of a name that is spelt otherwise


def folder(provider: str, model: str) -> tuple[str, str]:
    """The names of the two folders, one in the other; two models never share one, nor do two providers."""
    return _name(provider), _name(model)


def is_dump(name: str) -> bool:
    """Whether a file of this name is one of ours, which may be deleted."""
    return bool(_DUMP.fullmatch(name))


_DUMP: Final = re.compile(rf"[0-9a-f-]{{36}}(?:{re.escape(REQUEST)}|{re.escape(RESPONSE)})")


def _name(text: str) -> str:
    if _PLAIN.fullmatch(text) and not _DEVICES.fullmatch(text):
        return text
    shown = _ODD.sub("-", text.lower())[:_SHOWN].strip("-")
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{shown or 'unnamed'}+{digest[:32]}"  # no plain name has a plus
