"""The providers' keys in files, and what workers know of them while they run."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from pydantic import SecretStr
from pydantic_core import PydanticCustomError

from sidecar.core.errors import BadSetting
from sidecar.settings import checks
from sidecar.settings.model import Settings
from sidecar.settings.refusals import line
from sidecar.settings.watched import Watched


def key(name: str, file: Path) -> SecretStr:
    """The key in `file`, without the blanks around it. Raises BadSetting, which says `name` and never the key."""
    try:
        return SecretStr(checks.key_text(file.read_text("utf-8").strip()))
    except OSError as error:
        raise BadSetting(line(name, str(file), f"cannot be read ({error.strerror})")) from None
    except UnicodeDecodeError:
        raise BadSetting(line(name, str(file), "is not text; allowed: a file that holds a key")) from None
    except PydanticCustomError as error:
        raise BadSetting(line(name, str(file), f"what it holds is no key; allowed: {error.message()}")) from None


def setting(index: int) -> str:
    """What the operator calls a provider's key file."""
    return f"providers[{index}].api_key_file"


class Keys:
    """A worker's policy, whose keys are those in the files. Of what Envoy adds, hints; the parent writes these.

    A file that cannot be used changes nothing: to say so is the parent's affair, of whom there is one.
    """

    def __init__(self, settings: Settings) -> None:
        self.policy = settings.policy()
        self._settings = settings
        self._watched = tuple(self._files())

    def look(self) -> None:
        """Read them again. Takes as long as a file system may."""
        for watched in self._watched:
            with suppress(BadSetting, OSError, ValueError):
                watched.look()

    def _files(self) -> Iterator[Watched]:
        if self._settings.credentials.inject_by == "envoy":
            yield Watched((self._settings.key_hints,), self._hint)
            return
        for index, provider in enumerate(self._settings.providers):
            if provider.api_key_file:
                yield Watched((provider.api_key_file,), partial(self._key, index, provider.name, provider.api_key_file))

    def _key(self, index: int, name: str, file: Path) -> None:
        self._change(name, api_key=key(setting(index), file))

    def _hint(self) -> None:
        hints = json.loads(self._settings.key_hints.read_bytes())
        for name in self.policy.providers:
            self._change(name, hint=hints.get(name, ""))

    def _change(self, name: str, **fields: SecretStr | str) -> None:
        changed = replace(self.policy.providers[name], **fields)  # type: ignore[arg-type]  # one field, of its type
        self.policy = replace(self.policy, providers={**self.policy.providers, name: changed})
