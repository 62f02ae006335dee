import pytest

from sidecar.core.permissions import Permission, is_permitted

INTERNS = Permission(allows=False, actors=("intern-*", "guest"), models=("aster-*",))
SMALL = Permission(allows=True, providers=("openai",), models=("*-mini",))
NOTHING = Permission(allows=False)


def permitted(*permissions: Permission, actor: str = "ada", provider: str = "openai", model: str = "aster-2") -> bool:
    return is_permitted(permissions, actor=actor, provider=provider, model=model)


def test_without_a_rule_everything_is_allowed() -> None:
    assert permitted()


@pytest.mark.parametrize(
    ("actor", "model", "expected"),
    [
        ("ada", "aster-2", True),
        ("intern-1", "aster-2", False),
        ("guest", "aster-2", False),
        ("guest", "other", True),
        ("INTERN-1", "aster-2", True),
        ("my-intern-1", "aster-2", True),
    ],
)
def test_a_rule_is_about_what_fits_all_its_lists(actor: str, model: str, expected: bool) -> None:  # noqa: FBT001
    assert permitted(INTERNS, actor=actor, model=model) is expected


@pytest.mark.parametrize("model", ["aster-2", "ASTER-2", " Aster-2 ", "aster-"])
def test_a_model_is_denied_however_it_is_spelt(model: str) -> None:
    """A provider may well not care for case and blanks."""
    assert not permitted(INTERNS, actor="guest", model=model)


def test_the_first_rule_that_fits_decides() -> None:
    assert permitted(SMALL, NOTHING, model="aster-mini")
    assert not permitted(NOTHING, SMALL, model="aster-mini")
    assert not permitted(SMALL, NOTHING, provider="other", model="aster-mini")


def test_no_model_is_fitted_by_what_fits_everything_alone() -> None:
    assert not permitted(NOTHING, model="")
    assert not permitted(SMALL, NOTHING, model="")
    assert permitted(INTERNS, actor="guest", model="")
