"""Rows to records and back; and what strangers may send."""

from collections.abc import Iterator

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.text import ID_BYTES, MAX_COUNT
from sidecar.pb.aibridge.recorder.v1 import recorder_pb2 as pb
from sidecar.recorder import usage as counted
from sidecar.recorder.batches import COLUMNS, INTERCEPTIONS, Batch
from sidecar.recorder.rows import Values
from sidecar.recorder.service import contract
from sidecar.recorder.usage import Prices, Totals, Usage
from tests.recorder import contract_samples as samples
from tests.recorder.contract_samples import AT, as_sets, batches, end, ended, opened, prompt, tokens, tool, whole

NOW = Timestamp(seconds=1_772_360_430, nanos=123_456_789)
# Proto3's texts, numbers and times, whatever a stranger makes of them.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=80) | st.sampled_from(["i-1", "i-2"])
TIMES = st.none() | st.builds(
    Timestamp, seconds=st.integers(-(2**63), 2**63 - 1), nanos=st.integers(-(2**31), 2**31 - 1)
)
COUNTS = st.integers(-(2**63), 2**63 - 1)
KINDS = st.one_of(
    st.just({}),
    st.fixed_dictionaries(
        {"started": st.builds(pb.Started, model=TEXTS, actor_metadata=st.dictionaries(TEXTS, TEXTS))}
    ),
    st.fixed_dictionaries({"prompt": st.builds(pb.Prompt, text=TEXTS)}),
    st.fixed_dictionaries(
        {"token_usage": st.builds(pb.TokenUsage, input_tokens=COUNTS, extra=st.dictionaries(TEXTS, COUNTS))}
    ),
    st.fixed_dictionaries({"ended": st.builds(pb.Ended, status=TEXTS, http_status=st.integers(-(2**31), 2**31 - 1))}),
)
RECORDS = st.builds(lambda kind, **own: pb.Record(**own, **kind), KINDS, id=TEXTS, interception_id=TEXTS, at=TIMES)


def kinds(batch: Batch) -> list[tuple[str | None, str]]:
    return [(record.WhichOneof("record"), record.id) for record in contract.records(batch)]


def sent(batch: Batch) -> Iterator[pb.Record]:
    """The records as they come out of a connection."""
    for record in contract.records(batch):
        yield pb.Record.FromString(record.SerializeToString())


def column(batch: Batch, table: str, name: str) -> object:
    (row,) = batch.rows[table]
    return row[COLUMNS[table].index(name)]


@settings(max_examples=40)  # each draws some hundred values
@given(batches())
def test_every_row_comes_back_as_it_was(batch: Batch) -> None:
    back, unfit = contract.batch(sent(batch))
    assert not unfit
    assert as_sets(back) == as_sets(batch)


def test_records_of_an_interception_are_in_order() -> None:
    """Whoever stores them one after the other never has an end without its start."""
    batch = samples.together(whole("i-1"), Batch(rows={INTERCEPTIONS: [opened("i-2")]}), whole("i-3"))
    batch.rows["user_prompts"].append(prompt("p-9", "i-9"))
    found = kinds(Batch(rows=batch.rows, ends=[end("i-8")]))
    assert found == [
        ("started", "i-1"),
        ("prompt", "i-1-0"),
        ("token_usage", "i-1-1"),
        ("tool_usage", "i-1-2"),
        ("model_thought", "i-1-3"),
        ("ended", "i-1"),
        ("started", "i-2"),
        ("started", "i-3"),
        ("prompt", "i-3-0"),
        ("token_usage", "i-3-1"),
        ("tool_usage", "i-3-2"),
        ("model_thought", "i-3-3"),
        ("ended", "i-3"),
        ("prompt", "p-9"),
        ("ended", "i-8"),
    ]


def test_a_row_is_told_field_by_field() -> None:
    (record,) = contract.records(Batch(rows={"tool_usages": [tool()]}))
    assert record == pb.Record(
        id="u-1",
        interception_id="i-1",
        at=Timestamp(seconds=1_772_360_431),
        tool_usage=pb.ToolUsage(
            msg_id="resp_1",
            item_id="fc_1",
            tool_call_id="call_1",
            kind="function_call",
            tool="shell",
            input='{"command":"ls"}',
            injected=False,
        ),
    )


@pytest.mark.parametrize(
    "rows",
    [
        {INTERCEPTIONS: [ended(started_at="yesterday")]},
        {INTERCEPTIONS: [ended(ended_at="2026-03-01")]},
        {INTERCEPTIONS: [ended(actor_metadata='{"team":')]},
        {INTERCEPTIONS: [ended(http_status=2**40)]},
        {"token_usages": [tokens(input_tokens=2**63)]},
        {"token_usages": [tokens(extra='{"total":"many"}')]},
        {"token_usages": [tokens(input_tokens="ten")]},
        {"user_prompts": [prompt(text="\ud800")]},
    ],
)
def test_a_row_that_cannot_be_told_is_left_out(rows: dict[str, list[Values]]) -> None:
    """Its neighbours go; whoever compares ids finds which one did not."""
    good = whole("i-2")
    batch = samples.together(Batch(rows=rows), good)
    assert {record.id for record in contract.records(batch)} == good.ids()


def test_a_start_and_its_end_become_one_row_whatever_their_order() -> None:
    records = list(sent(Batch(rows={INTERCEPTIONS: [ended()]})))
    for one in (records, records[::-1]):
        back, unfit = contract.batch(one)
        assert as_sets(back) == {INTERCEPTIONS: {ended()}}
        assert not unfit


def test_an_end_alone_is_an_end() -> None:
    records = [record for record in sent(whole()) if record.HasField("ended")]
    back, unfit = contract.batch(records)
    assert as_sets(back) == {"ends": {end()}}
    assert not unfit


def test_the_first_of_two_counts() -> None:
    """As in a store, where what is there stays."""
    records = [*sent(Batch(rows={INTERCEPTIONS: [opened()]})), *sent(Batch(rows={INTERCEPTIONS: [opened(model="x")]}))]
    assert contract.batch(records)[0].rows[INTERCEPTIONS] == [opened()]


@pytest.mark.parametrize(
    "record",
    [
        pb.Record(),
        pb.Record(id="p", interception_id="i", at=NOW),
        pb.Record(interception_id="i", at=NOW, prompt=pb.Prompt()),
        pb.Record(id="p", at=NOW, prompt=pb.Prompt()),
        pb.Record(id="p", interception_id="i", prompt=pb.Prompt()),
        pb.Record(id="p" * 65, interception_id="i", at=NOW, prompt=pb.Prompt()),
        pb.Record(id="p", interception_id="i" * 65, at=NOW, prompt=pb.Prompt()),
        pb.Record(id="p 1", interception_id="i", at=NOW, prompt=pb.Prompt()),
        pb.Record(id="p\n", interception_id="i", at=NOW, prompt=pb.Prompt()),
        pb.Record(id="\u0661", interception_id="i", at=NOW, prompt=pb.Prompt()),
        pb.Record(id="p", interception_id="i", at=NOW, started=pb.Started()),
        pb.Record(id="p", interception_id="i", at=NOW, ended=pb.Ended()),
        pb.Record(id="p", interception_id="i", at=Timestamp(nanos=-1), prompt=pb.Prompt()),
        pb.Record(id="p", interception_id="i", at=Timestamp(nanos=10**9), prompt=pb.Prompt()),
        pb.Record(id="p", interception_id="i", at=Timestamp(seconds=2**62), prompt=pb.Prompt()),
        pb.Record(id="p", interception_id="i", at=Timestamp(seconds=-(2**62)), prompt=pb.Prompt()),
    ],
)
def test_what_is_malformed_is_named_and_its_neighbours_stay(record: pb.Record) -> None:
    back, unfit = contract.batch([*sent(whole()), record])
    assert unfit == {record.id}
    assert as_sets(back) == as_sets(whole())


@given(st.lists(RECORDS))
def test_no_record_is_too_odd(records: list[pb.Record]) -> None:
    back, unfit = contract.batch(records)
    assert back.ids() | unfit == {record.id for record in records}


def test_texts_are_fit_for_every_database_and_bounded() -> None:
    long = "\0ü" * ID_BYTES
    started = pb.Started(model=long, user_agent=long, request_path=long, open_prompt=long, actor_metadata={long: long})
    back, _ = contract.batch([pb.Record(id="i", interception_id="i", at=NOW, started=started)])
    found = {
        name: str(column(back, INTERCEPTIONS, name))
        for name in ("model", "user_agent", "request_path", "open_prompt", "actor_metadata")
    }
    assert not any("\0" in text for text in found.values())
    assert found["open_prompt"] == found["request_path"] == "\ufffdü" * ID_BYTES
    assert len(found["model"].encode()) == len(found["user_agent"].encode()) <= ID_BYTES
    assert len(found["actor_metadata"].encode()) <= 2 * ID_BYTES + len('{"":""}')


def test_counts_fit_sixty_four_bits_and_are_not_negative() -> None:
    usage = pb.TokenUsage(input_tokens=-5, output_tokens=MAX_COUNT, extra={"total_tokens": -1})
    back, _ = contract.batch([pb.Record(id="t", interception_id="i", at=NOW, token_usage=usage)])
    assert column(back, "token_usages", "input_tokens") == 0
    assert column(back, "token_usages", "output_tokens") == MAX_COUNT
    assert column(back, "token_usages", "extra") == '{"total_tokens":0}'
    (told,) = contract.records(Batch(rows={"token_usages": [tokens(extra=f'{{"total_tokens":{10**30}}}')]}))
    assert told.token_usage.extra["total_tokens"] == MAX_COUNT


def test_times_are_to_the_microsecond() -> None:
    """A Timestamp may be finer; what the tables hold is not."""
    back, _ = contract.batch([pb.Record(id="p", interception_id="i", at=NOW, prompt=pb.Prompt())])
    assert column(back, "user_prompts", "created_at") == AT


@pytest.mark.parametrize(
    "prices", [Prices(source="list 1", date="2026-01-02"), Prices(source="list 1", date=None), None]
)
@pytest.mark.parametrize(("cost", "unpriced"), [("0", 0), ("12.345", 3), (None, 3), (None, None)])
def test_costs_go_there_and_back(prices: Prices | None, cost: str | None, unpriced: int | None) -> None:
    line = usage(cost, unpriced)
    lines = {"actor": [line], "model": [line, line], "client": [], "day": [line]}
    totals = Totals(since=None, until=None, total=line, prices=prices, **lines)  # type: ignore[typeddict-item]
    told = pb.ReportResponse.FromString(contract.report(totals).SerializeToString())
    assert contract.totals(told, None, None) == totals


def test_a_service_that_tells_no_costs_does_not_tell_of_nothing() -> None:
    """One that is older than they are."""
    found = contract.totals(pb.ReportResponse(total=pb.Usage(interceptions=3)), None, None)
    assert (found["total"]["cost"], found["total"]["unpriced"], found["prices"]) == (None, None, None)


@pytest.mark.parametrize("cost", ["", "NaN", "-1", "1e9", "1,5", "1.", "\u0661", "1" * 51, "$1"])
def test_a_cost_that_is_no_decimal_number_is_unknown(cost: str) -> None:
    told = pb.ReportResponse(total=pb.Usage(cost=cost, unpriced=1))
    assert contract.totals(told, None, None)["total"]["cost"] is None


def usage(cost: str | None, unpriced: int | None) -> Usage:
    return Usage(name="x", cost=cost, unpriced=unpriced, **dict.fromkeys(counted.COUNTS, 1))  # type: ignore[typeddict-item]
