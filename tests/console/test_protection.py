"""Who may see the pages, and what their browser may do with them."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from sidecar.console.guesses import MOST, WINDOW
from sidecar.console.protection import COOKIE, HEADERS
from tests.console.consoles import Console, console
from tests.stores import sqlite

TOKEN = "the token of the test"  # noqa: S105 - of a console that ends with it
PAGES = ["/", "/interceptions", "/interceptions/first", "/session", "/sessions", "/nowhere"]
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """For who is on the machine."""
    yield from running(tmp_path_factory)


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """For who has the token."""
    yield from running(tmp_path_factory, token=TOKEN)


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """Behind a proxy that knows who comes."""
    yield from running(tmp_path_factory, behind_proxy=True)


def running(factory: pytest.TempPathFactory, **settings: object) -> Iterator[Console]:
    folder = factory.mktemp("console")
    with sqlite(folder) as store, console(folder / "console", store.settings, **settings) as started:
        yield started
        assert started.stop() == 0


def login(console: Console, token: str) -> dict[str, str]:
    """The headers of the answer."""
    return dict(console.get("/login", "POST", f"token={quote(token)}", **FORM).headers)


@pytest.mark.parametrize("path", [*PAGES, "/console.css", "/interceptions?window=odd"])
def test_every_answer_forbids_what_no_page_needs(local: Console, path: str) -> None:
    answer = local.get(path)
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
    assert "server" not in answer.headers


@pytest.mark.parametrize("host", ["127.0.0.1:9480", "localhost", "LocalHost:9480", "[::1]:9480", "[::1]", "127.8.8.8"])
def test_names_of_loopback_are_let_in(local: Console, host: str) -> None:
    assert local.get("/", Host=host).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9480", "10.0.0.1", "127.0.0.1.evil.example", "", "[::2]:1"]
)
def test_a_page_elsewhere_cannot_come_by_its_own_name(local: Console, host: str) -> None:
    answer = local.get("/", Host=host)
    assert answer.status == 403
    assert "Host" in answer.text


def test_behind_a_proxy_every_name_is_let_in(behind: Console) -> None:
    assert behind.get("/", Host="console.example").status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_pages_can_only_be_read(local: Console, closed: Console, method: str) -> None:
    assert local.get("/", method).status == 405
    assert local.get("/login", method).status == 405
    assert closed.get("/", method, Authorization=f"Bearer {TOKEN}").status == 405


def test_a_head_has_no_body(local: Console) -> None:
    answer = local.get("/", "HEAD")
    assert (answer.status, answer.text) == (200, "")


@pytest.mark.parametrize("path", PAGES)
def test_without_the_token_there_is_a_form_and_nothing_else(closed: Console, path: str) -> None:
    answer = closed.get(path)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert 'action="/login"' in answer.text
    assert "<nav" not in answer.text


@pytest.mark.parametrize("value", ["Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xff"])
def test_other_credentials_are_refused(closed: Console, value: str) -> None:
    assert closed.get("/", Authorization=value).status == 401


def test_the_token_opens_every_page(closed: Console) -> None:
    assert closed.get("/", Authorization=f"Bearer {TOKEN}").status == 200
    assert closed.get("/sessions", Authorization=f"bearer {TOKEN}").status == 200


def test_the_form_gives_a_cookie_that_is_not_the_token(closed: Console) -> None:
    headers = login(closed, TOKEN)
    cookie, *marks = headers["set-cookie"].split("; ")
    assert headers["location"] == "/"
    assert {"httponly", "samesite=strict"} <= {mark.lower() for mark in marks}
    assert TOKEN not in cookie
    assert closed.get("/", Cookie=cookie).status == 200


def test_a_wrong_token_gives_no_cookie(closed: Console) -> None:
    assert "set-cookie" not in login(closed, "wrong")
    assert "set-cookie" not in login(closed, TOKEN + "x" * 10_000)
    assert "set-cookie" not in login(closed, "\ud7ff")


@pytest.mark.parametrize("cookie", [f"{COOKIE}=", f"{COOKIE}=guess", f"{COOKIE}=\xff", "other=1", "=;,"])
def test_a_made_up_cookie_is_refused(closed: Console, cookie: str) -> None:
    assert closed.get("/", Cookie=cookie).status == 401


def test_who_guesses_is_put_off_and_who_is_in_stays_in(tmp_path: Path) -> None:
    """Form and header together; while guesses are put off, the right token must look like any other."""
    with sqlite(tmp_path) as store, console(tmp_path / "console", store.settings, token=TOKEN) as started:
        cookie, *_ = login(started, TOKEN)["set-cookie"].split("; ")
        for _ in range(MOST // 2):
            assert started.get("/", Authorization="Bearer wrong").status == 401
            assert started.get("/login", "POST", "token=wrong", **FORM).status == 401
        for token in (TOKEN, "wrong"):
            put_off = started.get("/", Authorization=f"Bearer {token}")
            assert put_off.status == 429
            assert 1 <= int(put_off.headers["retry-after"]) <= WINDOW
            assert started.get("/login", "POST", f"token={quote(token)}", **FORM).status == 429
        assert started.get("/", Cookie=cookie).status == 200


def test_the_token_is_in_no_page_and_no_log(closed: Console) -> None:
    page = closed.get("/", Authorization=f"Bearer {TOKEN}")
    assert TOKEN not in page.text
    assert TOKEN not in closed.output
