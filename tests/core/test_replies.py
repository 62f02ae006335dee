from pydantic import SecretStr

from sidecar.core.replies import Forward, Part, Refuse, Step, Wait


def test_a_step_does_nothing_unless_it_says_so() -> None:
    assert Step() == Step(replies=(), records=(), wait=Wait.NOTHING)


def test_a_verdict_does_not_show_the_key_it_sets() -> None:
    """It may stand in a traceback's locals."""
    forward = Forward(part=Part.BODY, set=(("authorization", SecretStr("Bearer sk-canary")),), remove=())
    assert "canary" not in repr(forward)


def test_what_is_noted_by_default_is_nobodys_to_change() -> None:
    assert not hasattr(Refuse(status=400, body=b"").notes, "__setitem__")
