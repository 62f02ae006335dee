"""Keys and certificates that change while we run: their files are looked at, and what others read of them is rewritten.

    api_key_file ─▶ the workers look for themselves, or ─▶ secrets/provider-*.key ─▶ Envoy; a hint ─▶ the workers
    keys_file, jwks_file ─▶ client-keys.json, issuer-keys.json ─▶ Envoy
    [tls], ca_file ─▶ secrets/*.json, which names the files ─▶ Envoy

What Envoy reads is made by `python -m sidecar.secrets`, a process for that alone: this one, which stays, sees that a
file is another one and not what is in it. What cannot be used leaves everything as it was, with a line in the log that
says so once.
"""

import pickle
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import structlog

from sidecar.core.errors import BadSetting, SidecarError
from sidecar.settings import Settings, bare_environment
from sidecar.settings.keys import key, setting
from sidecar.settings.parts import Order, Outcome, Part, Stamp, is_made, parts, stamp
from sidecar.settings.watched import Watched

log = structlog.get_logger()

LOOK = 1.0  # seconds between two looks
AGAIN = 30  # looks after which what failed is tried again, though its files are the same: a disk may have room again
_PATIENCE = 30.0  # seconds for who makes it, which takes half of one; more on a machine with too much to do


class NotMade(SidecarError):
    """Nobody came to make it."""


class Rotation:
    """What is made of the files that `settings` name; `settings` has the keys that workers add and were last found."""

    def __init__(self, settings: Settings, *, proves: bool = True) -> None:
        """`proves`: unsound certificates are refused from the start; else only those that follow sound ones."""
        self.settings = settings
        self._proves = proves
        self._keys = dict(self._added_by_workers())
        self._parts = tuple(parts(settings))
        self._stamps: dict[str, tuple[Stamp | None, ...]] = {}  # that were used or tried, by the part's setting
        self._told: dict[str, str] = {}  # of what is in trouble, what was said
        self._looks = 0

    def begin(self) -> None:
        """Make everything. Raises SidecarError where that cannot be."""
        for watched in self._keys.values():
            watched.look()
        for part, outcome in self._made(self._parts):
            if not outcome.made:
                raise BadSetting(outcome.reason)
            if outcome.reason:
                log.warning("an Envoy that reads this will not take it", setting=part.setting, reason=outcome.reason)
        self._proves = True

    def look(self) -> bool:
        """Make anew what changed; whether anything did. Takes as long as a file system may."""
        self._looks += 1
        keys = [self._looked(name, watched) for name, watched in self._keys.items()]
        return any([*keys, *self._renewed()])

    def end(self) -> None:
        """Leave no secret behind, once nobody reads them."""
        settings = self.settings
        made = (
            path for path in settings.secrets.glob("*") if is_made(path.name)
        )  # an operator may keep keys there, too
        for path in (*made, settings.client_keys, settings.issuer_keys):
            path.unlink(missing_ok=True)

    def _added_by_workers(self) -> Iterator[tuple[str, Watched]]:
        for index, provider in enumerate(self.settings.providers):
            file = provider.api_key_file
            if file and not self.settings.is_injected(provider):
                yield setting(index), Watched((file,), partial(self._key, index, file))

    def _key(self, index: int, file: Path) -> None:
        providers = list(self.settings.providers)
        providers[index] = providers[index].model_copy(update={"api_key": key(setting(index), file)})
        self.settings = self.settings.model_copy(update={"providers": tuple(providers)})

    def _looked(self, name: str, watched: Watched) -> bool:
        try:
            return self._is_used(name, changed=watched.look())
        except BadSetting as error:
            return self._is_used(name, trouble=str(error))

    def _renewed(self) -> list[bool]:
        due = tuple(part for part in self._parts if self._is_due(part))
        try:
            made = self._made(due)
        except NotMade as error:
            made = [(part, Outcome(made=False, reason=str(error))) for part in due]
        return [
            self._is_used(part.setting, changed=outcome.made, trouble="" if outcome.made else outcome.reason)
            for part, outcome in made
        ]

    def _is_due(self, part: Part) -> bool:
        if part.setting in self._told and self._looks % AGAIN == 0:
            return True
        return _stamps(part) != self._stamps.get(part.setting)

    def _made(self, wanted: tuple[Part, ...]) -> list[tuple[Part, Outcome]]:
        # Before anybody reads them: what is written meanwhile is due again. That somebody takes longer to start than
        # the kernel's clock to tick, so that a write which leaves the stamp as it is comes before the reading.
        self._stamps |= {part.setting: _stamps(part) for part in wanted}
        settings = self.settings.without_store_credentials()
        made = _ordered(Order(settings=settings, parts=wanted, proves=self._proves)) if wanted else []
        return list(zip(wanted, made, strict=True))

    def _is_used(self, name: str, *, changed: bool = False, trouble: str = "") -> bool:
        """Whether there is something new; says so, and trouble once."""
        if trouble:
            if self._told.get(name) != trouble:
                self._told[name] = trouble
                log.warning("what has changed cannot be used; what was there before still is", reason=trouble)
            return False
        was_in_trouble = self._told.pop(name, None) is not None
        if changed or was_in_trouble:
            log.info("changed, and in use from now on", setting=name)
        return changed


def _stamps(part: Part) -> tuple[Stamp | None, ...]:
    return tuple(map(stamp, part.files))


def _ordered(order: Order) -> list[Outcome]:
    """What became of each part. Raises NotMade where nobody can say."""
    try:
        done = subprocess.run(
            (sys.executable, "-P", "-m", "sidecar.secrets"),
            input=pickle.dumps(order),
            stdout=subprocess.PIPE,
            env=bare_environment(),
            process_group=0,  # ctrl-C is the parent's to hear
            timeout=_PATIENCE,
            check=True,
        )
        return pickle.loads(done.stdout)  # type: ignore[no-any-return]  # noqa: S301 - from our own child, through a pipe
    except (OSError, subprocess.SubprocessError, pickle.UnpicklingError, EOFError):
        msg = "what Envoy reads of keys and certificates could not be made"
        raise NotMade(msg) from None
