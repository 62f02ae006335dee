import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.clients import CLIENTS, client, session
from sidecar.core.events import Headers, Side


def request(*pairs: tuple[str, str]) -> Headers:
    return Headers(side=Side.REQUEST, at=0.0, pairs=pairs)


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        ("mux/1.0", "Mux"),
        ("xum/1.0", "Mux"),
        ("claude-cli/2.0 (external, cli)", "Claude Code"),
        ("Claude-Code/1", "Claude Code"),
        ("codex_cli_rs/0.99", "Codex"),
        ("codex \udcff\udcfe", "Codex"),
        ("Zed/0.2", "Zed"),
        ("GitHubCopilotChat/0.30", "GitHub Copilot (VS Code)"),
        ("copilot/1.2", "GitHub Copilot (CLI)"),
        ("Kilo-Code/4", "Kilo Code"),
        ("Roo-Code/3", "Roo Code"),
        ("coder-agents/2", "Coder Agents"),
        ("Charm Crush/1", "Charm Crush"),
        ("charm-crush/1", "Charm Crush"),
        ("opencode/0.9", "OpenCode"),
        ("Junie:1", "Junie"),
        ("OpenAI/Python 3.54", "Unknown"),
        ("a codex", "Unknown"),
        ("zed", "Unknown"),
        ("", "Unknown"),
    ],
)
def test_a_client_is_known_by_how_its_user_agent_begins(agent: str, name: str) -> None:
    assert client(request(("user-agent", agent))) == name


@pytest.mark.parametrize(
    ("pair", "name"),
    [
        (("originator", "kilo-code"), "Kilo Code"),
        (("originator", " Roo-Code "), "Roo Code"),
        (("originator", "codex_cli_rs"), "Unknown"),
        (("originator", ""), "Unknown"),
        (("x-cursor-client-version", "1.7"), "Cursor"),
        (("x-cursor-client-version", ""), "Cursor"),
    ],
)
def test_a_client_is_known_by_other_signs(pair: tuple[str, str], name: str) -> None:
    assert client(request(pair)) == name


def test_the_first_row_wins() -> None:
    cursor = ("x-cursor-client-version", "1")
    assert client(request(cursor, ("user-agent", "codex"))) == "Codex"
    assert client(request(cursor, ("user-agent", "opencode/1"))) == "Cursor"
    assert client(request(("originator", "kilo-code"), ("user-agent", "roo-code/1"))) == "Kilo Code"


def test_nothing_said_is_unknown() -> None:
    assert client(request()) == "Unknown"


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("Mux", "x-mux-workspace-id"),
        ("Claude Code", "x-claude-code-session-id"),
        ("Codex", "session-id"),
        ("Codex", "session_id"),
        ("GitHub Copilot (VS Code)", "x-interaction-id"),
        ("GitHub Copilot (CLI)", "x-client-session-id"),
        ("Kilo Code", "x-kilocode-taskid"),
        ("Coder Agents", "x-coder-chat-id"),
        ("OpenCode", "x-opencode-session"),
        ("OpenCode", "x-session-affinity"),
    ],
)
def test_a_session_stands_in_the_clients_own_header(name: str, header: str) -> None:
    assert session(name, request((header, " s-1 ")), None) == "s-1"
    assert session(name, request((header, " \t")), None) is None
    assert session(name, request(), None) is None


@pytest.mark.parametrize("name", ["Zed", "Roo Code", "Charm Crush", "Cursor", "Junie", "Unknown", "no such client"])
def test_other_clients_have_no_session(name: str) -> None:
    assert session(name, request(("session-id", "s-1"), ("x-session-affinity", "s-2")), "user_1_session_2") is None


def test_the_better_header_comes_first_unless_it_is_blank() -> None:
    assert session("Codex", request(("session_id", "old"), ("session-id", "new")), None) == "new"
    assert session("Codex", request(("session-id", " "), ("session_id", "old")), None) == "old"


@pytest.mark.parametrize(
    ("user_id", "found"),
    [
        ('{"device_id":"d","session_id":" s-1 "}', "s-1"),
        ('{"session_id":""}', None),
        ('{"device_id":"a_session_b"}', None),
        ("user_1_account_2_session_s-1", "s-1"),
        ("a_session_b_session_c", "c"),
        ("user_1_session_", None),
        ("user_1", None),
        ("", None),
        ('{"session_id":1}', None),
        ('{"session_id":"s-1"', None),
        ("[1]", None),
        ("[" * 4000, None),
        ("_session_\udcff", "\ufffd"),
        ('{"session_id":"' + "x" * 5000 + '"}', None),
        ('{"session_id":"' + "x" * 2000 + '"}', "x" * 1024),
    ],
)
def test_claude_code_keeps_its_session_in_the_body(user_id: str, found: str | None) -> None:
    assert session("Claude Code", request(), user_id) == found


def test_claude_codes_header_beats_its_body() -> None:
    assert session("Claude Code", request(("x-claude-code-session-id", "h")), "_session_b") == "h"
    assert session("Claude Code", request(("x-claude-code-session-id", " ")), "_session_b") == "b"


def test_only_claude_code_keeps_its_session_in_the_body() -> None:
    assert session("Codex", request(), "_session_b") is None


def test_a_session_can_be_stored() -> None:
    assert session("Mux", request(("x-mux-workspace-id", "a\udcff\0")), None) == "a\ufffd\ufffd"


TEXT = st.text(st.characters())
NAMES = st.sampled_from(["user-agent", "originator", "x-claude-code-session-id", "session_id"]) | TEXT


@given(
    pairs=st.lists(st.tuples(NAMES, TEXT)), user_id=st.none() | TEXT, name=st.sampled_from([r.name for r in CLIENTS])
)
def test_whatever_arrives_a_client_and_a_session_or_none_are_found(
    pairs: list[tuple[str, str]], user_id: str | None, name: str
) -> None:
    headers = request(*pairs)
    assert client(headers)
    assert session(name, headers, user_id) != ""
