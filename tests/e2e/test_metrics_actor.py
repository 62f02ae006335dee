"""Who asks as a label (`telemetry.actor_label`), as Prometheus finds it."""

from collections import Counter

from prometheus_client.parser import text_string_to_metric_families as families

from examples.ports import number, reserved
from tests.conftest import StartBridge
from tests.e2e.connections import ask
from tests.e2e.exchanges import ASKED, whole
from tests.e2e.scripts import Script
from tests.e2e.test_metrics import exposed
from tests.e2e.waiting import eventually

MOST = 2  # actors that are told apart
ASKS = {"ada@example.com": 3, "bo": 1, "carol": 1, "dave": 2}  # requests; those after the first two are others


def by_actor(port: int, name: str) -> Counter[str]:
    """What is shown under this name, by its actors."""
    found: Counter[str] = Counter()
    for family in families(exposed(port)):
        for sample in family.samples:
            if sample.name == name:
                found[sample.labels["actor"]] += int(sample.value)
    return found


def test_an_actor_is_a_label_where_that_is_wanted_and_only_so_many_are_told_apart(
    start_bridge: StartBridge, script: Script, case: str
) -> None:
    """Names are anybody's to make up; a series is for ever."""
    script[case] = whole(case)
    with reserved() as held:
        metrics = number(held)
        telemetry = {"metrics": f"127.0.0.1:{metrics}", "actor_label": True, "max_label_values": MOST}
        running = start_bridge(telemetry=telemetry)
        for actor, asks in ASKS.items():
            for _ in range(asks):
                assert ask(running.port, case, ASKED, ("x-forwarded-user", actor)).status == 200
        expected = {"ada@example.com": 3, "bo": 1, "other": 3}
        for name in ("aibridge_interceptions_total", "aibridge_prompts_total"):
            eventually(lambda name=name: by_actor(metrics, name) == expected, name)
        tokens = by_actor(metrics, "aibridge_tokens_total")
        assert tokens.keys() == expected.keys()
        assert tokens["ada@example.com"] == 3 * tokens["bo"] == tokens["other"] > 0
        assert running.stop() == 0
