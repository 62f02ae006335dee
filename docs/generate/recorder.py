"""The Recorder service's contract."""

from collections.abc import Iterator

from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from docs.generate.contract import FILE, Contract, contract, kind
from docs.generate.tables import code, table, whole


def page() -> str:
    """The page, complete."""
    read = contract()
    methods = table("method", "takes", "returns", "", rows=_methods(read))
    parts = ["## Methods", methods, *_messages(read)]
    return whole("Recorder contract", read.heading(), *parts, source=f"proto/{FILE}")


def _methods(read: Contract) -> Iterator[list[str]]:
    for name, request, response, told in read.methods():
        yield [code(name), _link(request), _link(response), told]


def _messages(read: Contract) -> Iterator[str]:
    for name, told in read.messages():
        yield f"## {name}"
        yield from ([told] if told else [])
        yield table("field", "number", "type", "", rows=_fields(read, name))
        values = list(read.values(name))
        if values:
            yield table(
                "value", "number", "", rows=([code(value), str(number), said] for value, number, said in values)
            )


def _fields(read: Contract, message: str) -> Iterator[list[str]]:
    for field, told in read.fields(message):
        yield [code(field.name), str(field.number), _kind(read, field), told]


def _kind(read: Contract, field: FieldDescriptorProto) -> str:
    if read.is_map(field):
        return "map"
    told = kind(field)
    if field.proto3_optional:
        return f"{told}, optional"
    return f"{told}, one of" if field.HasField("oneof_index") else told


def _link(message: str) -> str:
    return f"[{message}](#{message.lower()})"
