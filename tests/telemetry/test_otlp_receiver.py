from http.client import HTTPConnection

from examples.otlp_receiver import Receiver, Span, tree


def span(name: str, span_id: str, parent_id: str, *, start: int, end: int, **more: object) -> Span:
    attributes = more.pop("attributes", {})
    return Span(
        name=name,
        trace_id="t",
        span_id=span_id,
        parent_id=parent_id,
        start=start * 1_000_000,
        end=end * 1_000_000,
        kind="INTERNAL",
        attributes=attributes,
        error=more.pop("error", None),
        resource={},
    )


def test_a_tree_shows_durations_errors_and_what_a_span_adds_to_its_parent() -> None:
    spans = [
        span("late", "3", "1", start=5, end=8, attributes={"user_id": "alice", "n": 1}),
        span("early", "2", "1", start=1, end=2, attributes={"user_id": "alice"}, error="went wrong"),
        span("deep", "4", "3", start=6, end=7),
        span("other", "5", "", start=9, end=9),
        span("root", "1", "somebody else's", start=0, end=10, attributes={"user_id": "alice"}),
    ]
    assert tree(spans).splitlines() == [
        "root 10.0ms user_id=alice",
        "  early 1.0ms ERROR(went wrong)",
        "  late 3.0ms n=1",
        "    deep 1.0ms",
        "other 0.0ms",
    ]


def test_no_spans_are_no_tree() -> None:
    assert tree([]) == ""


def test_waiting_ends_without_the_spans_that_never_come() -> None:
    with Receiver() as receiver:
        assert not receiver.wait(bool, 0.01)


def test_only_traces_are_taken() -> None:
    with Receiver() as receiver:
        connection = HTTPConnection(receiver.http_endpoint.removeprefix("http://"))
        connection.request("POST", "/v1/logs", b"")
        assert connection.getresponse().status == 404
        connection.close()
        assert receiver.payloads == ()
