"""proto/ is a public contract: what is written may grow, and never change its meaning."""

import subprocess
import sys
from pathlib import Path

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from sidecar.pb.aibridge.recorder.v1 import recorder_pb2

ROOT = Path(__file__).resolve().parents[2]
FROZEN = Path(__file__).with_name("recorder_v1.txt")


def test_the_generated_modules_are_current(tmp_path: Path) -> None:
    """Nobody edits them, and nobody forgets them."""
    protos = [str(path.relative_to(ROOT)) for path in (ROOT / "proto").rglob("*.proto")]
    flags = ["-I", "sidecar/pb=proto", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *flags, *protos], cwd=ROOT, check=True)
    made = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*.py*")}
    assert made
    assert {name: (ROOT / name).read_text() for name in made} == made


def test_no_field_is_renumbered_retyped_or_reused() -> None:
    """A reader built from an older contract must still understand a newer sidecar, and the other way round."""
    now = set(fields())
    assert set(FROZEN.read_text().split("\n")) - {""} <= now, "an incompatible change: it needs a new package, v2"


def test_every_field_of_today_is_frozen() -> None:
    """A new field joins the frozen list in the commit that adds it."""
    assert sorted(fields()) == FROZEN.read_text().split("\n")[:-1]


def fields() -> list[str]:
    """One line for each field, enum value and method: what a change of it would break."""
    file = recorder_pb2.DESCRIPTOR
    lines = [line for message in file.message_types_by_name.values() for line in members(message)]
    for service in file.services_by_name.values():
        lines += [
            f"{method.full_name} {method.input_type.full_name} {method.output_type.full_name}"
            for method in service.methods
        ]
    return lines


def members(message: Descriptor) -> list[str]:
    lines = [f"{field.full_name} {field.number} {kind(field)}" for field in message.fields]
    for enum in message.enum_types:
        lines += [f"{enum.full_name}.{value.name} {value.number}" for value in enum.values]
    return lines + [line for nested in message.nested_types for line in members(nested)]


def kind(field: FieldDescriptor) -> str:
    named = field.message_type or field.enum_type
    oneof = f" oneof {field.containing_oneof.name}" if field.containing_oneof else ""
    return f"{named.full_name if named else field.type} {'repeated' if field.is_repeated else 'single'}{oneof}"
