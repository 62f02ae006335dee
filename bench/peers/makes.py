"""The gateways that people pick today: how each is installed and started, and where it writes down what was used.

Each in the configuration that its own documentation recommends for production, of one worker, as ours has; LiteLLM also
with one for each core. What each is given beyond that makes it faster, not slower: no price list from the network, no
telemetry of its own, usage to a file or to SQLite on the same disk.
"""

import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

MODEL: Final = "gpt-5-mini"
UNLISTED: Final = ("coder/aibridge", "Envoy AI Gateway", "agentgateway", "Bifrost", "Kong")
_KEY: Final = "sk-bench-000000000000000000000000"  # what the clients send

# LiteLLM's own spend logs take Prisma, whose engine is in no package registry. This is its documented other way: its
# standard payload of a call, a line of JSON each, which costs it less than a database would.
_CALLBACK = """\
import json
from pathlib import Path
from litellm.integrations.custom_logger import CustomLogger

class Usage(CustomLogger):
    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        with Path("usage.jsonl").open("a") as log:
            log.write(json.dumps(kwargs["standard_logging_object"], default=str) + "\\n")

    async_log_failure_event = async_log_success_event

usage = Usage()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What a gateway has written down so far: `records` of exchanges, and those with the `usage` that was told."""

    records: int
    usage: int

    def __sub__(self, other: "Counts") -> "Counts":
        return Counts(records=self.records - other.records, usage=self.usage - other.usage)


@dataclass(frozen=True, slots=True, kw_only=True)
class Make:
    """One gateway in one configuration. In `command`: `{home}`, where it is installed, and `{port}`.

    `more`: headers that it takes, lines each with its end. `files`: what is in its folder at its start. `prepare` is
    called with its port when it serves. `counts`: what it has written down, by its folder; None: nothing. `held`:
    whether it stands still when it has no turn.
    """

    name: str
    package: str
    command: tuple[str, ...]
    ready: str
    path: str = "/v1/responses"
    more: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[int], None] = lambda _: None
    counts: Callable[[Path], Counts] | None = None
    held: bool = True


def makes(provider: str) -> dict[str, Make]:
    """All that are measured, in front of the provider at this URL."""
    return {
        "litellm": _litellm(provider, "LiteLLM, usage logging on", logs=True),
        "litellm-off": _litellm(provider, "LiteLLM, usage logging off", logs=False),
        "litellm-2": _litellm(provider, "LiteLLM, usage logging on, 2 workers", logs=True, workers=2),
        "mlflow": _mlflow(provider, "MLflow, usage tracking on", tracks=True),
        "mlflow-off": _mlflow(provider, "MLflow, usage tracking off", tracks=False),
        "portkey": _portkey(provider),
    }


def _litellm(provider: str, name: str, *, logs: bool, workers: int = 1) -> Make:
    upstream = {"model": f"openai/{MODEL}", "api_base": f"{provider}/v1", "api_key": _KEY}
    config = {
        "model_list": [{"model_name": MODEL, "litellm_params": upstream}],
        "general_settings": {"master_key": _KEY},
        "litellm_settings": {"request_timeout": 600, "callbacks": ["usage.usage"] if logs else []},
    }
    command = "{home}/bin/litellm --config config.yaml --host 127.0.0.1 --port {port} --telemetry False --num_workers"
    return Make(
        name=name,
        package="litellm",
        command=(*command.split(), str(workers)),
        ready="/health/liveliness",
        environment={"LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        files={"config.yaml": json.dumps(config), "usage.py": _CALLBACK},
        counts=_logged if logs else None,
        held=workers == 1,  # one that looks after workers would take their standing still for their end
    )


def _logged(folder: Path) -> Counts:
    log = folder / "usage.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    told = [line for line in lines if (line["prompt_tokens"], line["completion_tokens"]) == (1234, 321)]
    return Counts(records=len(lines), usage=len(told))


def _mlflow(provider: str, name: str, *, tracks: bool) -> Make:
    command = "{home}/bin/mlflow server --backend-store-uri sqlite:///mlflow.db --no-serve-artifacts --port {port}"
    options = "--default-artifact-root artifacts --workers 1 --allowed-hosts bridge.example,127.0.0.1:*"
    return Make(
        name=name,
        package="mlflow",
        command=(*command.split(), *options.split()),
        ready="/health",
        path="/gateway/openai/v1/responses",
        environment={
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_GATEWAY_API_BASE_ALLOWED_SCHEMES": "http",
            "MLFLOW_GATEWAY_API_BASE_ALLOW_PRIVATE_IPS": "true",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        },
        prepare=lambda port: _endpoint(port, provider, tracks=tracks),
        counts=_traced if tracks else None,
    )


def _endpoint(port: int, provider: str, *, tracks: bool) -> None:
    """Its endpoint of the model's name, as its page for that makes it."""
    key = {"secret_name": "key", "secret_value": {"api_key": _KEY}, "auth_config": {"api_base": f"{provider}/v1"}}
    secret = _made(port, "secrets", provider="openai", **key)["secret"]["secret_id"]
    model = {"name": MODEL, "secret_id": secret, "provider": "openai", "model_name": MODEL}
    definition = _made(port, "model-definitions", **model)["model_definition"]["model_definition_id"]
    linked = {"model_definition_id": definition, "linkage_type": "PRIMARY", "weight": 1.0}
    _made(port, "endpoints", name=MODEL, usage_tracking=tracks, model_configs=[linked])


def _made(port: int, what: str, **asked: object) -> Any:  # noqa: ANN401 - JSON
    with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        path, head = f"/api/3.0/mlflow/gateway/{what}/create", {"content-type": "application/json"}
        connection.request("POST", path, json.dumps(asked), head)
        return json.load(connection.getresponse())


def _traced(folder: Path) -> Counts:
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        told = "count(CASE WHEN input_tokens = 1234 AND output_tokens = 321 THEN 1 END)"
        records, usage = database.execute(f"SELECT count(*), {told} FROM trace_info").fetchone()  # noqa: S608 - ours
    return Counts(records=records, usage=usage)


def _portkey(provider: str) -> Make:
    start = "node {home}/node_modules/@portkey-ai/gateway/build/start-server.js --port={port} --headless"
    return Make(
        name="Portkey, records nothing",
        package="portkey",
        command=tuple(start.split()),
        ready="/",
        more=f"x-portkey-provider: openai\nx-portkey-custom-host: {provider}/v1\n",
        environment={"NODE_ENV": "production"},
    )
