"""Every setting: its shape from the models, its meaning from docs/settings.md, which is written by people."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from docs.generate.tables import code, table, whole
from sidecar.settings import Settings

_WRITTEN: Final = Path(__file__).parents[1] / "settings.md"
_ROW = re.compile(r"^\| (\S+) \|.*\| ?([^|]*) \|$", re.MULTILINE)
_LINK = re.compile(r"\]\((?!https?:)")
_WORDS: Final = {"string": "text", "boolean": "true or false", "integer": "whole number", "number": "number"}
_INTRODUCTION = """
What each key takes, and its name in the environment, which beats the file; lists and tables are JSON there. Limits that
one line cannot tell are told by the error that refuses a value. What is worth saying about all of them together:
[Settings](../settings.md).
"""

Schema = dict[str, Any]


def page() -> str:
    """The page, complete."""
    return whole("Configuration reference", _INTRODUCTION, *_sections(), source="sidecar/settings and docs/settings.md")


def kind(field: Schema) -> str:
    """What a key takes, in words: `text`, `list of text`, and so on."""
    told = next((one for one in field.get("anyOf", []) if one["type"] != "null"), field)
    match told:
        case {"format": "password"}:
            return "secret text"
        case {"format": "path"}:
            return "path"
        case {"type": "array", "items": items}:
            return f"list of {kind(items)}"
        case {"type": "object"}:
            return "table of text"
        case _:
            return _WORDS[told["type"]]


def allowed(field: Schema) -> str:
    """Its choices or limits; empty where the model's schema names none."""
    if "enum" in field or "const" in field:
        return ", ".join(code(json.dumps(value)) for value in field.get("enum", [field.get("const")]))
    limits = [
        (sign, field[name])
        for name, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
        if name in field
    ]
    return ", ".join(f"{sign} {limit:,}" for sign, limit in limits)


def default(field: Schema) -> str:
    """As it would stand in the file."""
    match field.get("default", {}):
        case None:
            return '""'
        case float(number):
            return f"{number:g}"
        case value:
            return json.dumps(value)


def _sections() -> Iterator[str]:
    schema = Settings.model_json_schema()
    meanings = {key.strip("*`"): meaning for key, meaning in _ROW.findall(_WRITTEN.read_text())}
    plain = {name: field for name, field in schema["properties"].items() if _model(field) is None}
    yield _section("", plain, meanings, heading="Top level")
    for name, field in schema["properties"].items():
        model = _model(field)
        if model is not None:
            heading = f"[[{name}]]" if field.get("type") == "array" else f"[{name}]"
            yield _section(name, schema["$defs"][model]["properties"], meanings, heading=heading)


def _section(name: str, fields: Schema, meanings: dict[str, str], *, heading: str) -> str:
    listed = heading.startswith("[[")
    told = _linked(meanings.get(heading, ""))
    above = f"In the environment all of them are one list, `AIBRIDGE_{name.upper()}`, as JSON." if listed else ""
    keys = [(f"{name}.{key}" if name else key, field) for key, field in fields.items()]
    heads = ("key", *(() if listed else ("environment",)), "takes", "allowed", "default", "")
    rows = (_row(key, field, _linked(meanings[key]), listed=listed) for key, field in keys)
    heading = f"## `{heading}`" if name else f"## {heading}"
    return "\n\n".join(part for part in (heading, told, above, table(*heads, rows=rows)) if part)


def _row(key: str, field: Schema, meaning: str, *, listed: bool) -> list[str]:
    variable = f"AIBRIDGE_{key.upper().replace('.', '__')}"
    environment = [] if listed else [code(variable)]
    return [code(key), *environment, kind(field), allowed(field), code(default(field)), meaning]


def _model(field: Schema) -> str | None:
    """The name of the section's model, if this is a section."""
    reference = field.get("$ref") or field.get("items", {}).get("$ref")
    return None if reference is None else reference.rpartition("/")[2]


def _linked(meaning: str) -> str:
    """With its links as they are from one folder further down."""
    return _LINK.sub("](../", meaning)
