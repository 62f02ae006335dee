import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.policy import Provider
from sidecar.core.routes import NoRoute, Route, Treatment, find

OPENAI = Provider(name="openai", type="openai", base_url="https://api.openai.com/v1")
AZURE = Provider(name="azure-eu", type="openai", base_url="https://eu.example/openai/v1")
PROVIDERS = {"openai": OPENAI, "azure-eu": AZURE}


@pytest.mark.parametrize("path", ["responses", "responses/compact"])
def test_what_costs_money_is_intercepted(path: str) -> None:
    assert find("POST", f"/openai/v1/{path}", PROVIDERS) == Route(
        provider=OPENAI, treatment=Treatment.INTERCEPT, path=f"/openai/v1/{path}"
    )


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "models"),
        ("GET", "models/gpt-5"),
        ("GET", "models/ft:gpt-5:org::1"),
        ("GET", "responses/resp_1"),
        ("GET", "responses/resp_bGl0ZQ=="),
        ("DELETE", "responses/resp_1"),
        ("GET", "responses/resp_1/input_items"),
        ("POST", "responses/resp_1/cancel"),
        ("POST", "responses/input_tokens"),
        ("POST", "conversations"),
        ("GET", "conversations/c_1"),
        ("POST", "conversations/c_1"),
        ("DELETE", "conversations/c_1"),
        ("GET", "conversations/c_1/items"),
        ("POST", "conversations/c_1/items"),
        ("GET", "conversations/c_1/items/m_1"),
        ("DELETE", "conversations/c_1/items/m_1"),
    ],
)
def test_what_is_listed_passes(method: str, path: str) -> None:
    assert find(method, f"/openai/v1/{path}", PROVIDERS) == Route(
        provider=OPENAI, treatment=Treatment.PASS, path=f"/openai/v1/{path}"
    )


@pytest.mark.parametrize(
    "target",
    [
        "",
        "*",
        "/",
        "/nowhere",
        "/openai",
        "/openai/v1",
        "/openai/v1/",
        "/openai/v2/responses",
        "/openai/v1x/responses",
        "/unknown/v1/responses",
        "/OPENAI/v1/responses",
        "/openai/V1/responses",
        "/openai/v1/Responses",
        "/openai/v1/responses/",
        "/openai/v1/responses/compact/",
        "/openai/v1/responses/resp_1/",
        "/openai/v1/responses/resp_1/generate",
        "/openai/v1/responses/resp_1/cancel/x",
        "/openai/v1/responses//cancel",
        "/openai/v1//responses",
        "//openai/v1/responses",
        "/openai/v1/./responses",
        "/openai/v1/x/../responses",
        "/openai/v1/responses/.",
        "/openai/v1/responses/..",
        "/openai/v1/responses/..?x=1",
        "/openai/v1/responses/../cancel",
        "/openai/v1/%72esponses",
        "/openai/v1/responses%2F",
        "/openai/v1/responses/%20",
        "/openai/v1/responses/a b",
        "/openai/v1/responses;a",
        "/openai/v1/responses;a?x=1",
        "/openai/v1/responses#x",
        "/openai/v1/responses?x#y",
        "/openai/v1/responses?x y",
        "/openai/v1/responses\n",
        "/openai/v1/responses\0",
        "/openai/v1/responses/r\u00e9sp",
        "/openai/v1/responses/\udcff",
        "/openai/v1/responses\\compact",
        "/openai/v1/chat/completions",
        "/openai/v1/files/f_1",
        "http://host/openai/v1/responses",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_is_not_listed_is_not_found(method: str, target: str) -> None:
    """No spelling leads past the list."""
    assert find(method, target, PROVIDERS) == NoRoute(status=404)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "responses", ("POST",)),
        ("GET", "responses/compact", ("POST",)),
        ("DELETE", "responses/input_tokens", ("POST",)),
        ("POST", "responses/resp_1", ("DELETE", "GET")),
        ("PATCH", "responses/resp_1", ("DELETE", "GET")),
        ("HEAD", "models", ("GET",)),
        ("DELETE", "models/ft:gpt-5:org::1", ("GET",)),
        ("post", "responses", ("POST",)),
        ("", "conversations/c_1/items", ("GET", "POST")),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(method: str, path: str, allow: tuple[str, ...]) -> None:
    """A path written out is no id, so that `responses/compact` is never read or deleted; methods are case-sensitive."""
    assert find(method, f"/openai/v1/{path}", PROVIDERS) == NoRoute(status=405, allow=allow)


def test_the_query_does_not_count() -> None:
    """What the query says is the provider's affair, escapes and all; it is in no record."""
    assert find("GET", "/openai/v1/responses/resp_1/input_items?limit=2&after=%2F..;\u00e9?", PROVIDERS) == Route(
        provider=OPENAI, treatment=Treatment.PASS, path="/openai/v1/responses/resp_1/input_items"
    )


@pytest.mark.parametrize(
    ("target", "url"),
    [
        ("/openai/v1/responses?x=1", "https://api.openai.com/v1/responses"),
        ("/azure-eu/v1/responses/compact", "https://eu.example/openai/v1/responses/compact"),
    ],
)
def test_the_base_url_stands_for_the_prefix(target: str, url: str) -> None:
    route = find("POST", target, PROVIDERS)
    assert isinstance(route, Route)
    assert route.url() == url


@given(method=st.text(), target=st.text() | st.text(alphabet="/openaiv1rsp.%;#?*").map("/openai/v1/responses{}".format))
def test_whatever_is_asked_nothing_is_raised_and_only_plain_paths_are_found(method: str, target: str) -> None:
    found = find(method, target, PROVIDERS)
    assert isinstance(found, NoRoute) or not set("%;#*?").intersection(found.path)
