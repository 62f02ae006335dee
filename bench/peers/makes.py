"""The gateways that people pick today: how each is installed, started, asked, and where it writes down what was used.

Versions are pinned. LiteLLM's stays at 1.82.6: releases 1.82.7, 1.82.8 and 1.107.0 are reported to have carried
malware. MLflow is not here yet; its `genai` extra depends on LiteLLM and needs the same constraint. npm runs no
package's scripts.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

LITELLM: Final = "litellm==1.82.6"
NOT_MEASURED: Final = ("coder/aibridge", "Envoy AI Gateway", "agentgateway", "Bifrost", "Kong")
MODEL: Final = "gpt-5-mini"

# LiteLLM's standard payload of a finished call, a line of JSON each: its spend logs without their PostgreSQL.
_CALLBACK = """\
import json
from pathlib import Path
from litellm.integrations.custom_logger import CustomLogger

class Usage(CustomLogger):
    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        told = kwargs["standard_logging_object"]
        line = {"input_tokens": told["prompt_tokens"], "output_tokens": told["completion_tokens"], **told}
        with Path("usage.jsonl").open("a") as log:
            log.write(json.dumps(line, default=str) + "\\n")

usage = Usage()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Make:
    """One gateway in one configuration. `needs`: what must be on the PATH. `logs`: whether it writes down usage."""

    name: str
    package: str
    folder: str
    needs: str
    install: tuple[tuple[str, ...], ...]
    command: tuple[str, ...]
    ready: str
    logs: bool
    path: str = "/v1/responses"
    headers: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


def makes(provider: str) -> dict[str, Make]:
    """All that are measured, in front of the provider at this URL. `{home}`, `{port}`: filled in at its start."""
    return {
        "litellm": _litellm(provider, logs=True),
        "litellm-silent": _litellm(provider, logs=False),
        "portkey": Make(
            name="Portkey (chat completions), records nothing",
            package="@portkey-ai/gateway 1.15.2",
            folder="portkey",
            needs="npm",
            install=(
                (
                    "npm",
                    "install",
                    "--silent",
                    "--ignore-scripts",
                    "--no-audit",
                    "--no-fund",
                    "--prefix",
                    "{home}",
                    "@portkey-ai/gateway@1.15.2",
                ),
            ),
            command=(
                "node",
                "{home}/node_modules/@portkey-ai/gateway/build/start-server.js",
                "--port={port}",
                "--headless",
            ),
            ready="/",
            logs=False,
            path="/v1/chat/completions",  # its /v1/responses fails under Node 20: "TypeError: immutable"
            headers={"x-portkey-provider": "openai", "x-portkey-custom-host": f"{provider}/v1"},
        ),
    }


def _litellm(provider: str, *, logs: bool) -> Make:
    config: dict[str, object] = {
        "model_list": [
            {
                "model_name": MODEL,
                "litellm_params": {"model": f"openai/{MODEL}", "api_base": f"{provider}/v1", "api_key": "sk-bench"},
            }
        ],
        "litellm_settings": {"callbacks": ["usage.usage"]} if logs else {},
    }
    return Make(
        name=f"LiteLLM, usage logging {'on' if logs else 'off'}",
        package=LITELLM.replace("==", " "),
        folder="litellm",
        needs="python3",
        install=(
            ("{python}", "-m", "venv", "{home}"),
            ("{home}/bin/pip", "install", "-q", "litellm[proxy]==1.82.6"),
        ),
        command=(
            "{home}/bin/litellm",
            "--config",
            "config.yaml",
            "--host",
            "127.0.0.1",
            "--port",
            "{port}",
            "--telemetry",
            "False",
        ),
        ready="/health/liveliness",
        logs=logs,
        environment={"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"},
        files={"config.yaml": json.dumps(config), **({"usage.py": _CALLBACK} if logs else {})},
    )


def recorded(folder: Path) -> list[dict[str, object]]:
    """What a gateway has written down so far."""
    log = folder / "usage.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
