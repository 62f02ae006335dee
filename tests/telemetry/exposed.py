"""What Prometheus reads of a bridge's metrics, by our names for them."""

from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families as families

from sidecar.telemetry.metrics import PREFIX

Samples = dict[str, float]


def samples(text: str) -> Samples:
    """Values by name, without our prefix; of a histogram's bucket the name has its bound behind a blank."""
    found = [sample for family in families(text) for sample in family.samples]
    return {" ".join((sample.name.removeprefix(PREFIX), *sample.labels.values())): sample.value for sample in found}


def added_up(folder: Path) -> Samples:
    """What the files in `folder` say together."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))
    return samples(generate_latest(registry).decode())


def stored(file: Path) -> Samples:
    """What a file says, as prometheus_client reads it."""
    return {key: value for key, value, *_ in MmapedDict.read_all_values_from_file(str(file))}
