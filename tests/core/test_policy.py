from dataclasses import replace

from pydantic import SecretStr

from sidecar.core.policy import Bounds, Policy, Provider

OPENAI = Provider(name="openai", type="openai", base_url="https://api.openai.com/v1", api_key=SecretStr("sk-canary"))


def test_a_policy_does_not_show_its_keys() -> None:
    """It stands in tracebacks and in debuggers' views."""
    assert "canary" not in repr(Policy(providers={"openai": OPENAI}))


def test_two_providers_share_no_headers() -> None:
    """The default is nobody's to change."""
    assert dict(OPENAI.extra_headers) == {}
    assert not hasattr(OPENAI.extra_headers, "__setitem__")


def test_the_bounds_are_the_documented_ones() -> None:
    assert Bounds() == Bounds(
        request_bytes=32 * 2**20,
        response_bytes=64 * 2**20,
        event_bytes=8 * 2**20,
        recorded_bytes=2**20,
        request_timeout=600.0,
    )
    assert replace(Bounds(), request_bytes=1).request_bytes == 1
