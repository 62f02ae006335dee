"""One dumped exchange: from what the server shows to two texts, on the thread that writes.

request headers, body ─▶ held until the verdict ─▶ request.txt
response headers ─▶ response.txt ─▶ events as they come, or the whole body at its end
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from sidecar.core.events import Body, Event, Headers, Side, Told, Trailers
from sidecar.core.policy import Provider
from sidecar.core.privacy import Content, Gate
from sidecar.core.records import Started
from sidecar.core.replies import Forward, Refuse
from sidecar.telemetry.dumps import heads
from sidecar.telemetry.dumps.bodies import Events, note, shown
from sidecar.telemetry.dumps.heads import Pairs
from sidecar.telemetry.dumps.names import REFUSED, REQUEST, RESPONSE, folder
from sidecar.telemetry.dumps.page import Page
from sidecar.telemetry.dumps.readers import Reader, Streamed, Whole, Withheld, withheld
from sidecar.telemetry.dumps.shelf import Shelf

CUT = "the response was not seen to its end"
_WORK = 2_000_000  # microseconds or so: nothing waits for this thread
_FROM_PROVIDER = "via_upstream"  # response.code_details of what Envoy did not make itself
_STREAM = "text/event-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How exchanges are dumped. Sizes in bytes; `masked`: names of headers, in lower case and with `-` for `_`."""

    shelf: Shelf
    gate: Gate
    providers: Mapping[str, Provider]
    masked: Collection[str]
    file_bytes: int
    decoded_bytes: int
    event_bytes: int


class Exchange:
    """What is known of one request with its response. Whatever writes raises OSError."""

    def __init__(self, plan: Plan, interception: str) -> None:
        self._plan = plan
        self._id = interception
        self._folders = (REFUSED, REFUSED)
        self._provider: Provider | None = None
        self._asked: Headers | None = None  # until it is written
        self._body = bytearray()
        self._known: set[str] = set()  # secrets
        self._masks = plan.gate.masks
        self._response: Page | None = None
        self._reader: Reader | None = None
        self._is_over = False

    @property
    def held(self) -> int:
        """How many bytes of bodies are kept."""
        return len(self._body) + (self._reader.held if self._reader else 0)

    def take(self, event: Event, started: Started | None, verdict: Forward | Refuse | None) -> None:
        """What came, and the start and the verdict that followed, if they did."""
        if self._is_over:
            return
        if started:
            self._folders = folder(started.provider_name, started.model)
            self._provider = self._plan.providers.get(started.provider_name)
        if isinstance(event, Told) and event.side is Side.RESPONSE:
            self._respond(event)
        elif isinstance(event, Headers):
            self._asked = event
            self._know((*_configured(self._plan.providers), *heads.secrets(event.pairs, self._plan.masked)))
        elif isinstance(event, Body) and self._asked:
            self._body += event.data
        if verdict:
            self._decided(verdict)

    def chunk(self, data: bytes) -> None:
        """A piece of the response's body."""
        if self._response and self._reader:
            self._response.write(self._reader.feed(data))

    def close(self, why: str = CUT) -> None:
        """Nothing more will come, though more should have. Safe to call twice."""
        if not self._is_over:
            self._request("not decided, and so never sent; this is as it came")
            self._end(why)

    def _respond(self, event: Told) -> None:
        if isinstance(event, Headers):
            self._answered(event)
        elif isinstance(event, Body):
            self.chunk(event.data)
        if isinstance(event, Trailers) or event.end:
            self._end()

    def _end(self, why: str = "") -> None:
        reader, self._reader, self._is_over = self._reader, None, True
        if self._response:
            self._response.write(reader.end(is_cut=bool(why)) if reader else "")
            self._response.write(note(why) if why else "")

    def _decided(self, verdict: Forward | Refuse) -> None:
        if isinstance(verdict, Forward):
            self._know(heads.keys(verdict))
            self._request("", verdict)
            return
        self._request("refused, and so never sent; this is as it came")
        pairs = ((":status", str(verdict.status)), *verdict.headers)
        self._response = self._page(RESPONSE)
        self._response.write(heads.text(pairs, self._masks))
        self._response.write(shown(verdict.body, None, self._masks, len(verdict.body)))
        self._is_over = True

    def _request(self, said: str, verdict: Forward | None = None) -> None:
        """Write the request, once; `said`: what became of it where it was not sent."""
        headers, data = self._asked, bytes(self._body)
        self._asked, self._body = None, bytearray()
        if headers is None:
            return
        page = self._page(REQUEST)
        page.write(note(said) if said else "")
        page.write(heads.text(self._pairs(headers, verdict), self._masks))
        page.write(self._shown(data, headers.first("content-encoding")))

    def _pairs(self, headers: Headers, verdict: Forward | None) -> Pairs:
        masked, shows_query = self._plan.masked, self._plan.gate.content is Content.FULL
        if verdict is None:
            return heads.placed(heads.received(headers, masked), None, masked, shows_query=shows_query)
        sent = heads.sent(headers, verdict, self._provider, masked)
        return heads.placed(sent, self._provider, masked, shows_query=shows_query)

    def _answered(self, headers: Headers) -> None:
        self._know(heads.secrets(headers.pairs, self._plan.masked))
        self._response = self._page(RESPONSE)
        details = headers.attributes.get("response.code_details", _FROM_PROVIDER)
        if details != _FROM_PROVIDER:
            self._response.write(note(f"Envoy's own answer: {details}"))
        self._response.write(heads.text(heads.answered(headers.pairs, self._plan.masked), self._masks))
        self._reader = self._begun(headers)

    def _begun(self, headers: Headers) -> Reader:
        plan, encoding = self._plan, headers.first("content-encoding")
        has_patterns = bool(plan.gate.masks)
        if plan.gate.content is not Content.FULL:
            return Withheld(plan.gate.content)
        if (headers.first("content-type") or "").lower().startswith(_STREAM):
            bounds = (plan.decoded_bytes, plan.event_bytes)
            return Streamed(Events(encoding, self._masks, bounds, is_parted=has_patterns))
        longest = None if has_patterns else max(map(len, self._known), default=0)
        return Whole(lambda data: self._shown(data, encoding), self._masks, plan.file_bytes, longest)

    def _shown(self, data: bytes, encoding: str | None) -> str:
        if self._plan.gate.content is not Content.FULL:
            return withheld(len(data), self._plan.gate.content)
        return shown(data, encoding, self._masks, self._plan.decoded_bytes)

    def _know(self, words: Iterable[str]) -> None:
        self._known.update(words)
        self._masks = self._plan.gate.masks.knowing(self._known, work=_WORK)

    def _page(self, suffix: str) -> Page:
        return Page(self._plan.shelf, self._folders, self._id + suffix, self._plan.file_bytes)


def _configured(providers: Mapping[str, Provider]) -> Iterator[str]:
    for provider in providers.values():
        keys = [provider.api_key.get_secret_value()] if provider.api_key else []
        yield from heads.long_enough(*keys, *provider.extra_headers.values())
