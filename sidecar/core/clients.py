"""Which program asks, and in which of its sessions, by what it says of itself: for reports, never for decisions."""

from dataclasses import dataclass

import msgspec

from sidecar.core.events import Headers
from sidecar.core.text import clean

CLAUDE_CODE = "Claude Code"
UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One row: known by what `user-agent` begins with, by `originator`, or by having a header at all."""

    name: str
    agents: tuple[str, ...] = ()
    originator: str | None = None
    header: str | None = None
    sessions: tuple[str, ...] = ()  # headers that name the session, the better one first


# The first hit wins.
CLIENTS = (
    Client(name="Mux", agents=("mux/", "xum/"), sessions=("x-mux-workspace-id",)),
    Client(name=CLAUDE_CODE, agents=("claude",), sessions=("x-claude-code-session-id",)),
    Client(name="Codex", agents=("codex",), sessions=("session-id", "session_id")),
    Client(name="Zed", agents=("zed/",)),
    Client(name="GitHub Copilot (VS Code)", agents=("githubcopilotchat/",), sessions=("x-interaction-id",)),
    Client(name="GitHub Copilot (CLI)", agents=("copilot/",), sessions=("x-client-session-id",)),
    Client(name="Kilo Code", agents=("kilo-code/",), originator="kilo-code", sessions=("x-kilocode-taskid",)),
    Client(name="Roo Code", agents=("roo-code/",), originator="roo-code"),
    Client(name="Coder Agents", agents=("coder-agents/",), sessions=("x-coder-chat-id",)),
    Client(name="Charm Crush", agents=("charm crush/", "charm-crush/")),
    Client(name="Cursor", header="x-cursor-client-version"),
    Client(name="OpenCode", agents=("opencode/",), sessions=("x-opencode-session", "x-session-affinity")),
    Client(name="Junie", agents=("junie:",)),
)
_SESSIONS = {row.name: row.sessions for row in CLIENTS}
_USER_ID_BYTES = 4096  # Claude Code's are some 200; what is longer is cut, and then no JSON any more


class _UserId(msgspec.Struct):
    session_id: str = ""


def client(headers: Headers) -> str:
    """The client's name, `Unknown` if it is none of those we know."""
    agent = (headers.first("user-agent") or "").lower()
    originator = (headers.first("originator") or "").strip().lower()
    for row in CLIENTS:
        is_named = row.header is not None and headers.first(row.header) is not None
        if is_named or originator == row.originator or agent.startswith(row.agents):
            return row.name
    return UNKNOWN


def session(client: str, headers: Headers, user_id: str | None) -> str | None:
    """The session's own name for itself; None when the client has none or leaves it blank.

    `client` is a name that `client` gave. `user_id` is the text of the body's `metadata.user_id`, where Claude Code
    keeps its session unless a header has it.
    """
    sent = [headers.first(name) for name in _SESSIONS.get(client, ())]
    if client == CLAUDE_CODE and user_id is not None:
        sent.append(_session_of(clean(user_id, _USER_ID_BYTES)))
    return next((clean(text.strip()) for text in sent if text and text.strip()), None)


def _session_of(user_id: str) -> str:
    """Newer clients send `{"session_id":"…",…}`, older ones `user_…_account_…_session_…`."""
    try:
        return msgspec.json.decode(user_id, type=_UserId).session_id
    except (msgspec.MsgspecError, RecursionError):  # the second by nesting
        return user_id.rpartition("_session_")[2] if "_session_" in user_id else ""
