"""Asking a running bridge with the official client, then looking for the records: for an operator, after a change."""

import os
import pwd
import socket
import uuid
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from openai import DefaultHttpxClient, Omit, OpenAI
from rich.console import Console

from sidecar.core.errors import BadSetting, SidecarError
from sidecar.probe.asks import ASKS, Ask, Headers
from sidecar.probe.facts import differences, expected, recorded
from sidecar.probe.proofs import Proof, proof
from sidecar.probe.table import Outcome, table
from sidecar.recorder.journal.connection import check
from sidecar.recorder.journal.turns import turn
from sidecar.settings import Provider, Settings, host_and_port

__all__ = ["NoBridge", "probe"]

_PATIENCE = 120.0  # seconds for an answer: a model may think
_REACHED = 2.0  # seconds for a connection


class NoBridge(SidecarError):
    """Nobody listens where the settings say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """Whom to ask, as whom, and for which model."""

    settings: Settings
    client: OpenAI
    model: str
    proof: Proof


def probe(  # noqa: PLR0913 - the command's options
    settings: Settings,
    *,
    model: str,
    provider: str | None,
    actor: str | None,
    credential: Path | None = None,
    certificate: Path | None = None,
) -> bool:
    """Whether everything came back, and is recorded, as it should; prints a table. `provider` None: the first.

    Who asks is `actor` (None: the default actor, else the login name), or whom the files `credential` and `certificate`
    prove, where the settings want a proof. No key is sent, so that the bridge's own is tried, and none is shown. Raises
    BadSetting, NoBridge and JournalUnavailable.
    """
    proved = _proved(settings, actor, credential, certificate)
    chosen, address = _provider(settings, provider), _reached(settings)
    check(settings.database)
    # Without the environment's proxies: the bridge is on this machine.
    with (
        DefaultHttpxClient(trust_env=False, timeout=_PATIENCE, verify=proved.context or True) as http,
        OpenAI(base_url=f"{address}/{chosen.name}/v1", api_key="none", max_retries=0, http_client=http) as client,
    ):
        target = _Target(settings=settings, client=client, model=model, proof=proved)
        outcomes = [_outcome(ask, target) for ask in ASKS]
    by = proved.actor or "whom the certificate names"
    Console().print(table(f"{chosen.name} at {address}, {model} asked by {by}", outcomes))
    return all(outcome.good for outcome in outcomes)


def _outcome(ask: Ask, target: _Target) -> Outcome:
    request_id = str(uuid.uuid4())
    with _kept(target.settings):
        seen = ask.seen(target.client.responses, target.model, _headers(target, request_id))
        record = recorded(target.settings.database, request_id)
    faults = differences(expected(ask, seen, target.proof.actor, target.model, target.settings.gate()), record)
    return Outcome(name=ask.name, seen=seen, right=ask.is_right(seen), record=record, faults=faults)


def _kept(settings: Settings) -> AbstractContextManager[bool]:
    """Whatever is recorded stays in the journal meanwhile, also where it is to be forwarded."""
    return turn(settings.database) if settings.is_forwarded else nullcontext(enter_result=True)


def _provider(settings: Settings, name: str | None) -> Provider:
    names = [provider.name for provider in settings.providers]
    if name is not None and name not in names:
        msg = f"--provider = {name!r}: no such provider; allowed: {', '.join(names)}"
        raise BadSetting(msg)
    return settings.providers[0 if name is None else names.index(name)]


def _proved(settings: Settings, actor: str | None, credential: Path | None, certificate: Path | None) -> Proof:
    if settings.identity.source == "header":
        actor = actor or settings.identity.default_actor or _login_name()
    if actor is not None and (not actor.isascii() or not actor.isprintable() or actor != actor.strip()):
        msg = f"--actor = {actor!r}: allowed: printable ASCII without blanks around it"
        raise BadSetting(msg)
    return proof(settings, actor, credential, certificate)


def _login_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container's user need have no name
        return f"uid-{os.geteuid()}"


def _reached(settings: Settings) -> str:
    """The bridge's URL, where somebody listens."""
    host, port = host_and_port(settings.listen)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - who listens everywhere listens here
    scheme = "https" if settings.tls.cert_file else "http"
    shown = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
    try:
        socket.create_connection((host, port), timeout=_REACHED).close()
    except OSError as error:
        msg = f"no bridge at {shown} ({error.strerror or error}); start one with `aibridge-sidecar up`"
        raise NoBridge(msg) from None
    return shown


def _headers(target: _Target, request_id: str) -> Headers:
    identity, proved = target.settings.identity, target.proof
    named = {identity.header: proved.actor} if identity.source == "header" and proved.actor else {}
    # Any bearer would count as the client's own key, and the configured one would stay untried; a token is none.
    bearer = {} if "authorization" in proved.headers else {"Authorization": Omit()}
    return {**bearer, **named, **proved.headers, "x-request-id": request_id}
