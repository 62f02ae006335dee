import json

import pytest

from sidecar.core import refusals
from sidecar.core.refusals import passing, refusal
from sidecar.core.replies import Refuse

JSON = ("content-type", "application/json")
FINAL = ("x-should-retry", "false")
OURS = {name: reply for name, reply in vars(refusals).items() if isinstance(reply, Refuse)}


def test_a_refusal_tells_the_client_not_to_try_again() -> None:
    """The SDKs would send a 501 three times."""
    assert refusal(404, "no such route") == Refuse(
        status=404, body=b'{"code":"404","message":"no such route"}', headers=(JSON, FINAL)
    )


def test_a_refusal_of_a_moment_does_not() -> None:
    assert passing(503, "busy", ("retry-after", "1")) == Refuse(
        status=503, body=b'{"code":"503","message":"busy"}', headers=(JSON, ("retry-after", "1"))
    )


def test_a_background_request_is_refused_in_exactly_these_words() -> None:
    """They are what other gateways say."""
    assert (
        Refuse(
            status=501,
            body=b'{"code":"501","message":"background requests are currently not supported by AI Bridge"}',
            headers=(JSON, FINAL),
        )
        == refusals.BACKGROUND
    )


STATUS = {
    "BACKGROUND": 501,
    "DENIED": 403,
    "INTERNAL": 500,
    "NOT_FOUND": 404,
    "NOT_RECORDED": 500,
    "OVERLOADED": 503,
    "TOO_LARGE": 413,
}


def test_all_of_them_are_tested() -> None:
    assert OURS.keys() == STATUS.keys()


@pytest.mark.parametrize(("name", "status"), STATUS.items())
def test_every_refusal_is_json_with_two_strings(name: str, status: int) -> None:
    reply = OURS[name]
    said = json.loads(reply.body)
    assert reply.status == status
    assert said == {"code": str(status), "message": said["message"]}
    assert isinstance(said["message"], str)
    assert JSON in reply.headers


def test_only_what_may_pass_may_be_tried_again() -> None:
    """Full, or the disk was busy: the next try may well succeed."""
    passing_ones = {name for name, reply in OURS.items() if FINAL not in reply.headers}
    assert passing_ones == {"INTERNAL", "NOT_RECORDED", "OVERLOADED"}


def test_a_message_may_hold_anything() -> None:
    assert json.loads(refusal(400, 'say "\u2028\x00"').body) == {"code": "400", "message": 'say "\u2028\x00"'}
