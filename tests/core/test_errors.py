import pytest

from sidecar.core import errors

OURS = [kind for kind in vars(errors).values() if isinstance(kind, type)]


@pytest.mark.parametrize("kind", OURS)
def test_there_is_one_root(kind: type) -> None:
    """Whoever catches what we raise on purpose needs one name."""
    assert issubclass(kind, errors.SidecarError)
    assert not issubclass(kind, ValueError | OSError | LookupError)
