"""Who may use which model of which provider."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """One rule: it allows or denies what fits one glob of each list."""

    allows: bool
    actors: tuple[str, ...] = ("*",)
    providers: tuple[str, ...] = ("*",)
    models: tuple[str, ...] = ("*",)

    def fits(self, *, actor: str, provider: str, model: str) -> bool:
        """Whether the rule is about this. Models in any case of letters, for that is how a provider may read them."""
        return (
            any(fnmatchcase(actor, glob) for glob in self.actors)
            and any(fnmatchcase(provider, glob) for glob in self.providers)
            and any(fnmatchcase(model.strip().casefold(), glob.casefold()) for glob in self.models)
        )


def is_permitted(permissions: Iterable[Permission], *, actor: str, provider: str, model: str) -> bool:
    """What the first rule that fits says; where none does, it is. `model` "": a request that names none."""
    decided = (one.allows for one in permissions if one.fits(actor=actor, provider=provider, model=model))
    return next(decided, True)
