"""A wrong setting, told in one line: its key, its value, what is allowed. Never a secret's value."""

import json
import re
from collections.abc import Mapping

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from sidecar.settings.console import Console
from sidecar.settings.credentials import Credentials
from sidecar.settings.identity import Identity, Issuer, PolicyRule, Tls
from sidecar.settings.model import Limits, Provider, Recorder, Service, Settings
from sidecar.settings.telemetry import Dump, Telemetry

_MASK = "***"
_SHOWN = 200
_SECRET = frozenset({"api_key", "extra_headers", "mask", "password", "token"})
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SECTIONS: Mapping[str, type[BaseModel]] = {
    "console": Console,
    "credentials": Credentials,
    "dump": Dump,
    "identity": Identity,
    "issuers": Issuer,
    "limits": Limits,
    "policies": PolicyRule,
    "providers": Provider,
    "recorder": Recorder,
    "service": Service,
    "telemetry": Telemetry,
    "tls": Tls,
}


_KINDS = {"model_type": "a table", "dict_type": "a table", "tuple_type": "a list", "string_type": "a string"}


def line(key: str, value: object, verdict: str) -> str:
    """`key = value: verdict`. Values that are or may hold secrets (SecretStr, tables, a URL's user) are masked."""
    return f"{key} = {_shown(value)}: {verdict}"


def lines(error: ValidationError) -> str:
    """One line for each wrong setting."""
    return "\n".join(_line(details) for details in error.errors(include_url=False))


def _line(details: ErrorDetails) -> str:
    place, context = details["loc"], details.get("ctx", {})
    value = details["input"]
    if context.get("key"):
        place, value = (*place, *context["key"].split(".")), context["value"]
    unread = details["type"] in {"extra_forbidden", "tuple_type"}  # who knows what stands there
    secret = unread or not _SECRET.isdisjoint(place)
    return line(dotted(place), SecretStr("") if secret else value, _verdict(details, context))


def _verdict(details: ErrorDetails, context: Mapping[str, object]) -> str:
    if details["type"] == "extra_forbidden":
        section = _SECTIONS.get(str(details["loc"][0]), Settings)
        return f"no such setting; allowed: {', '.join(section.model_fields)}"
    kind = _KINDS.get(details["type"], details["msg"].removeprefix("Input should be "))
    allowed = str(context.get("allowed", kind))
    return f"allowed: {allowed}"


def dotted(place: tuple[int | str, ...]) -> str:
    """Where a setting stands, as a file has it; what is no bare name in quotes, its odd characters escaped."""
    text = ""
    for step in (step for step in place if step != "[key]"):  # pydantic's way to say that a table's key is wrong
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            name = step if _BARE.fullmatch(step) else json.dumps(step)
            text += f".{name}" if text else name
    return text


def _shown(value: object) -> str:
    if isinstance(value, str):
        value = re.sub(r"((?:\A[a-z+]+://)?).*@", rf"\1{_MASK}@", value, flags=re.DOTALL)
        value = re.sub(r"[?#].*", f"?{_MASK}", value, flags=re.DOTALL) if "://" in value else value
        if "password" in value:  # as PostgreSQL's own library has it, without a URL
            return _MASK
        return json.dumps(value if len(value) <= _SHOWN else value[:_SHOWN] + "…", ensure_ascii=True)
    return json.dumps(value) if value is None or isinstance(value, bool | int | float) else _MASK
