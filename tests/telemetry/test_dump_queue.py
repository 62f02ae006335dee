"""The thread behind dumps: it takes so much at most, and its troubles are nobody else's."""

import threading
from functools import partial
from pathlib import Path

from structlog.testing import capture_logs

from sidecar.core.events import Body, Side
from sidecar.core.replies import Step
from sidecar.telemetry.dumps import FileDumps, opened
from tests.core.play import ID, Exchange
from tests.e2e.waiting import PATIENCE, eventually
from tests.telemetry.dumped import dump, dumped, files, settings

OTHER = ID[:-1] + "2"


def test_what_is_too_much_is_dropped_and_told(tmp_path: Path) -> None:
    """Whoever shows it does not wait, even while the thread stands still."""
    wanted = settings(tmp_path / "dumps")
    dumps, may_go_on = opened(wanted), threading.Event()
    stand_still = partial(may_go_on.wait, PATIENCE)
    assert dumps.put(dumps.begin(OTHER).exchange, 0, stand_still)
    shown = dumps.begin(ID)
    large = Body(side=Side.RESPONSE, at=1.0, data=bytes(16_777_216))
    with capture_logs() as logged:
        for _ in range(6):
            shown.seen(large, Step())
        may_go_on.set()
        eventually(lambda: logged, "a warning")
    dumps.close(PATIENCE)
    assert [(line["log_level"], line["pieces"]) for line in logged] == [("warning", 1)]


def test_a_body_that_is_kept_until_its_end_counts_as_well(tmp_path: Path) -> None:
    """And when it has been written, there is room again."""
    wanted = settings(tmp_path / "dumps")
    dumps = opened(wanted)
    events = (*Exchange().asking(), *Exchange().answering([b"x" * 1_000_000]))
    dump(dumps, iter(events), wanted)
    eventually(lambda: not dumps.size, "nothing held")
    dump(dumps, iter(events[:-1]), wanted, OTHER)
    eventually(lambda: not dumps.size, "nothing held")
    dumps.close(PATIENCE)
    assert len(files(wanted)) == 4


def test_a_disk_that_takes_nothing_harms_nobody_and_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "dumps").write_text("no folder")
    wanted = settings(tmp_path / "dumps/below")
    with capture_logs() as logged:
        dumps = opened(wanted)
        for _ in range(3):
            dump(dumps, iter((*Exchange().asking(), *Exchange().answering([b"{}"]))), wanted)
        dumps.close(PATIENCE)
    assert [(line["log_level"], line["setting"]) for line in logged] == [("warning", "dump.dir")]


def test_a_disk_that_takes_something_again_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "dumps").write_text("no folder")
    wanted = settings(tmp_path / "dumps/below")
    with capture_logs() as logged:
        dumps = opened(wanted)
        eventually(lambda: logged, "a warning")
        (tmp_path / "dumps").unlink()
        dump(dumps, iter((*Exchange().asking(), *Exchange().answering([b"{}"]))), wanted)
        dumps.close(PATIENCE)
    assert [line["event"] for line in logged[1:]] == ["dumps are written again"]
    assert len(files(wanted)) == 2


def test_a_disk_on_which_some_dumps_fit_and_others_do_not_is_told_of_once(tmp_path: Path) -> None:
    """Else a log fills with what is no news."""
    wanted = settings(tmp_path / "dumps")
    (tmp_path / "dumps/openai").mkdir(parents=True)
    (tmp_path / "dumps/openai/large").write_text("no folder")
    with capture_logs() as logged:
        dumps = opened(wanted)
        for number, model in enumerate(["large", "m"] * 3):
            exchange = Exchange(request=b'{"model":"%s"}' % model.encode())
            dump(dumps, iter((*exchange.asking(), *exchange.answering([b"{}"]))), wanted, f"{ID[:-1]}{number}")
        dumps.close(PATIENCE)
    assert [line["event"] for line in logged] == [
        "dumps cannot be written, they are left out",
        "dumps are written again",
    ]
    assert len(files(wanted)) == 7


def test_what_was_dumped_before_is_tidied_at_the_start(tmp_path: Path) -> None:
    wanted = settings(tmp_path / "dumps", max_age_hours=1e-9)
    dumped(wanted, Exchange())
    dumps = opened(wanted)
    eventually(lambda: not files(wanted), "nothing left")
    dumps.close(PATIENCE)


def test_closing_twice_is_closing(tmp_path: Path) -> None:
    dumps: FileDumps = opened(settings(tmp_path / "dumps"))
    for _ in range(2):
        dumps.close(PATIENCE)
    assert files(settings(tmp_path / "dumps")) == {}
