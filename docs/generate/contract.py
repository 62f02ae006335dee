"""The Recorder's contract with its comments, as protoc reads them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import grpc_tools
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

PROTO: Final = Path(__file__).parents[2] / "proto"
FILE: Final = "aibridge/recorder/v1/recorder.proto"
# Numbers of fields in descriptor.proto, of which paths in SourceCodeInfo are made.
_MESSAGES, _SERVICES, _FIELDS, _METHODS, _ENUMS, _VALUES, _SYNTAX = 4, 6, 2, 2, 4, 2, 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """The file, and its comments by where they stand."""

    file: FileDescriptorProto
    comments: dict[tuple[int, ...], str]

    def heading(self) -> str:
        """What stands above everything."""
        return self.comments.get((_SYNTAX,), "")

    def methods(self) -> Iterator[tuple[str, str, str, str]]:
        """Name, request, response, comment."""
        for number, method in enumerate(self.file.service[0].method):
            told = self.comments.get((_SERVICES, 0, _METHODS, number), "")
            yield method.name, _last(method.input_type), _last(method.output_type), told

    def messages(self) -> Iterator[tuple[str, str]]:
        """Name and comment."""
        for number, message in enumerate(self.file.message_type):
            yield message.name, self.comments.get((_MESSAGES, number), "")

    def fields(self, message: str) -> Iterator[tuple[FieldDescriptorProto, str]]:
        """A message's fields with their comments."""
        place = self._place(message)
        for number, field in enumerate(self.file.message_type[place].field):
            yield field, self.comments.get((_MESSAGES, place, _FIELDS, number), "")

    def values(self, message: str) -> Iterator[tuple[str, int, str]]:
        """Name, number and comment of each value of a message's enumerations."""
        place = self._place(message)
        for number, enumeration in enumerate(self.file.message_type[place].enum_type):
            for at, value in enumerate(enumeration.value):
                path = (_MESSAGES, place, _ENUMS, number, _VALUES, at)
                yield value.name, value.number, self.comments.get(path, "")

    def is_map(self, field: FieldDescriptorProto) -> bool:
        """Whether the field is one, which protoc writes as a message of its own."""
        return field.type_name.endswith("Entry")

    def _place(self, message: str) -> int:
        return [one.name for one in self.file.message_type].index(message)


def contract() -> Contract:
    """Read the contract. Raises ValueError where protoc does not understand it."""
    with TemporaryDirectory() as folder:
        out = Path(folder) / "set"
        include = Path(grpc_tools.__file__).parent / "_proto"
        status = protoc.main(["", f"-I{PROTO}", f"-I{include}", "--include_source_info", f"-o{out}", FILE])
        if status:
            msg = f"protoc does not understand {FILE}"
            raise ValueError(msg)
        (file,) = FileDescriptorSet.FromString(out.read_bytes()).file
    return Contract(file=file, comments=_comments(file))


def kind(field: FieldDescriptorProto) -> str:
    """A field's type, as the file has it."""
    repeated = field.label == FieldDescriptorProto.LABEL_REPEATED
    name = _last(field.type_name) or FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    return f"repeated {name}" if repeated else name


def _comments(file: FileDescriptorProto) -> dict[tuple[int, ...], str]:
    spans = file.source_code_info.location
    return {tuple(span.path): _joined(span.leading_comments) for span in spans if span.leading_comments}


def _joined(comment: str) -> str:
    """A comment's paragraphs, each in one line."""
    return "\n\n".join(" ".join(part.split()) for part in comment.split("\n\n")).replace("\n \n", "\n\n")


def _last(name: str) -> str:
    return name.rpartition(".")[2]
