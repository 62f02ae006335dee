"""proto/ is a public contract: what is written may grow, and never change its meaning."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

from sidecar.pb.aibridge.recorder.v1 import recorder_pb2

ROOT = Path(__file__).resolve().parents[2]
PROTO = Path("aibridge/recorder/v1/recorder.proto")
SOURCE = (ROOT / "proto" / PROTO).read_text()
FROZEN = Path(__file__).with_name("recorder_v1.txt").read_text().splitlines()

# A change that is made all too easily, and what it makes of the contract.
INCOMPATIBLE = {
    "renumbered": ("string client = 7;", "string client = 27;"),
    "two swapped": ("int64 input_tokens = 2;", "int64 input_tokens = 12;"),
    "retyped": ("optional int32 http_status = 4;", "optional int64 http_status = 4;"),
    "removed": ("  string credential_hint = 12;\n", ""),
    "renamed": ("string worker = 15;", "string owner = 15;"),
    "reserved": ("  string worker = 15;\n", "  reserved 15;\n"),
    "presence lost": ("optional string open_prompt = 16;", "string open_prompt = 16;"),
    "presence gained": ("  string model = 5;\n  // Whether", "  optional string model = 5;\n  // Whether"),
    "repeated": ("Usage total = 1;", "repeated Usage total = 1;"),
    "single": ("repeated Usage day = 5;", "Usage day = 5;"),
    "out of the oneof": ("    Ended ended = 9;\n  }", "  }\n  Ended ended = 9;"),
    "oneof renamed": ("oneof record {", "oneof kind {"),
    "map's value": ("map<string, int64> extra", "map<string, int32> extra"),
    "map's key": ("map<string, string> actor_metadata", "map<int64, string> actor_metadata"),
    "enum renumbered": ("STATUS_UNFIT = 2;", "STATUS_UNFIT = 3;"),
    "message renamed": ("ModelThought", "Thought"),
    "method renamed": ("rpc Report(", "rpc Usage("),
    "method's answer": ("returns (RecordResponse)", "returns (ReportResponse)"),
    "method streams": ("rpc Record(RecordRequest)", "rpc Record(stream RecordRequest)"),
    "package": ("package aibridge.recorder.v1;", "package aibridge.recorder.v2;"),
}
COMPATIBLE = {
    "field": ("  string worker = 15;", "  string worker = 15;\n  string team = 27;"),
    "optional field": ("  string text = 2;", "  string text = 2;\n  optional string language = 3;"),
    "kind": ("    Ended ended = 9;", "    Ended ended = 9;\n    Usage usage = 10;"),
    "enum value": ("    STATUS_UNFIT = 2;", "    STATUS_UNFIT = 2;\n    STATUS_LATE = 3;"),
    "method": ("  rpc Report(", "  rpc Sum(ReportRequest) returns (ReportResponse);\n  rpc Report("),
}


def test_the_generated_modules_are_current(tmp_path: Path) -> None:
    """Nobody edits them, and nobody forgets them."""
    protos = [str(path.relative_to(ROOT)) for path in (ROOT / "proto").rglob("*.proto")]
    protoc("-I", "sidecar/pb=proto", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", *protos, cwd=ROOT)
    made = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*.py*")}
    assert made
    assert {name: (ROOT / name).read_text() for name in made} == made
    generated = {path for path in (ROOT / "sidecar/pb").rglob("*_pb2*.py*") if "__pycache__" not in path.parts}
    assert generated == {ROOT / name for name in made}


def test_no_field_is_renumbered_retyped_or_reused() -> None:
    """A reader built from an older contract must still understand a newer sidecar, and the other way round."""
    assert not broken(lines(recorder_pb2.DESCRIPTOR)), "an incompatible change: it needs a new package, v2"


def test_every_field_of_today_is_frozen() -> None:
    """A new field joins the frozen list in the commit that adds it."""
    assert sorted(lines(recorder_pb2.DESCRIPTOR)) == FROZEN


@pytest.mark.parametrize("change", INCOMPATIBLE)
def test_an_incompatible_change_is_refused(tmp_path: Path, change: str) -> None:
    assert broken(changed(tmp_path, *INCOMPATIBLE[change]))


@pytest.mark.parametrize("change", COMPATIBLE)
def test_an_addition_is_not(tmp_path: Path, change: str) -> None:
    assert not broken(changed(tmp_path, *COMPATIBLE[change]))


def test_every_field_is_explained(tmp_path: Path) -> None:
    """Unit, meaning, source: whoever writes another sidecar, or another recorder, has nothing but this file."""
    (file,) = (one for one in compiled(tmp_path, SOURCE).file if one.name == str(PROTO))
    told = {tuple(place.path) for place in file.source_code_info.location if place.leading_comments.strip()}
    assert not {name for path, name in explained(file) if path not in told}


def explained(file: FileDescriptorProto) -> Iterator[tuple[tuple[int, ...], str]]:
    """What needs a comment, by its path in the descriptor (descriptor.proto, SourceCodeInfo)."""
    for at, message in enumerate(file.message_type):
        yield from (((4, at, 2, field), f"{message.name}.{one.name}") for field, one in enumerate(message.field))
        for kind, enum in enumerate(message.enum_type):
            yield from (((4, at, 4, kind, 2, value), one.name) for value, one in enumerate(enum.value))
    for at, service in enumerate(file.service):
        yield from (((6, at, 2, method), one.name) for method, one in enumerate(service.method))


def broken(now: set[str]) -> set[str]:
    """What readers of today rely on and would not find."""
    return set(FROZEN) - now


def changed(folder: Path, before: str, after: str) -> set[str]:
    """The contract's lines, were it written so."""
    assert before in SOURCE
    pool = DescriptorPool()
    for file in compiled(folder, SOURCE.replace(before, after)).file:
        pool.Add(file)  # type: ignore[no-untyped-call]
    return lines(pool.FindFileByName(str(PROTO)))  # type: ignore[no-untyped-call]


def compiled(folder: Path, source: str) -> FileDescriptorSet:
    path = folder / PROTO
    path.parent.mkdir(parents=True)
    path.write_text(source)
    to = folder / "set"
    protoc(f"-I{folder}", f"-o{to}", "--include_imports", "--include_source_info", str(PROTO), cwd=folder)
    return FileDescriptorSet.FromString(to.read_bytes())


def protoc(*arguments: str, cwd: Path) -> None:
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *arguments], cwd=cwd, check=True)


def lines(file: FileDescriptor) -> set[str]:
    """One line for each field, enum value and method: what a change of it would break."""
    found = {line for message in file.message_types_by_name.values() for line in members(message)}
    found |= {
        f"{enum.full_name}.{value.name} {value.number}"
        for enum in file.enum_types_by_name.values()
        for value in enum.values
    }
    for service in file.services_by_name.values():
        for method in service.methods:
            streams = (" stream" * method.client_streaming, " stream" * method.server_streaming)
            told = f"{method.input_type.full_name}{streams[0]} {method.output_type.full_name}{streams[1]}"
            found.add(f"{method.full_name} {told}")
    return found


def members(message: Descriptor) -> list[str]:
    found = [f"{field.full_name} {field.number} {kind(field)}" for field in message.fields]
    for enum in message.enum_types:
        found += [f"{enum.full_name}.{value.name} {value.number}" for value in enum.values]
    return found + [line for nested in message.nested_types for line in members(nested)]


def kind(field: FieldDescriptor) -> str:
    named = field.message_type or field.enum_type
    oneof = f" oneof {field.containing_oneof.name}" if field.containing_oneof else ""
    return f"{named.full_name if named else field.type} {'repeated' if field.is_repeated else 'single'}{oneof}"
