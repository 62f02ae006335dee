"""Who is elsewhere reaches what clients need, and nothing besides."""

from examples.ports import number, reserved
from tests.conftest import StartBridge
from tests.e2e.bridges import Bridge, free_ports
from tests.e2e.processes import listening
from tests.e2e.waiting import eventually

EVERYWHERE = "0.0.0.0"  # noqa: S104 - what the test is about


def addresses(bridge: Bridge) -> set[tuple[str, int]]:
    return {address for pid in (bridge.process.pid, *bridge.children()) for address in listening(pid)}


def test_admin_and_metrics_are_on_loopback_even_where_clients_come_from_everywhere(start_bridge: StartBridge) -> None:
    """The kernel tells what the bridge and its children listen at."""
    ports = free_ports()
    with reserved() as held:
        metrics = ("127.0.0.1", number(held))
    bridge = start_bridge(
        ports=ports,
        listen=f"{EVERYWHERE}:{ports[0]}",
        identity={"trust_header": True},
        telemetry={"metrics": f"{metrics[0]}:{metrics[1]}"},
    )
    eventually(lambda: metrics in addresses(bridge), "metrics, which come after Envoy")
    assert addresses(bridge) == {(EVERYWHERE, ports[0]), ("127.0.0.1", ports[1]), metrics}
