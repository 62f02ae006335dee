import json
import os
import pty
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from sidecar.core.errors import BadSetting, JournalUnavailable
from sidecar.export import export, parquet
from sidecar.export.output import OutputFailed, output
from sidecar.recorder import pages
from sidecar.recorder.batches import StoreUnavailable
from sidecar.settings import Recorder, Settings
from tests import stores
from tests.e2e.bridges import COMMAND, ROOT, environment, written
from tests.e2e.waiting import eventually
from tests.stores import Database, interception, opened, prompt, thought, tokens, tool

LATER = "2001-09-10T00:00:00.000001Z"
LINES = 40
PATIENCE = 60.0


@pytest.fixture(params=stores.KINDS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with stores.database(request, tmp_path) as database:
        database.holds(interception("1", prompt(), tokens(), tokens(), tool(input=None), thought()))
        database.holds(interception("2", status="failed", error_type="lost", http_status=None))
        database.holds(opened("3", started_at=LATER))
        yield database


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A file with a few interceptions of which each takes more than a pipe does."""
    with stores.sqlite(tmp_path) as database:
        text = "\x1b[2J\u202e\x9b" + "x" * 100_000
        database.holds(*(interception(f"{number:02d}", prompt(prompt=text)) for number in range(LINES)))
        return database.settings


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text("utf-8").split("\n")[:-1]]


def told(row: dict[str, Any]) -> dict[str, Any]:
    """A row of Parquet as JSON has it."""
    return {name: _told(name, value) for name, value in row.items()}


def _told(name: str, value: Any) -> Any:  # noqa: ANN401 - whatever pyarrow gives
    if isinstance(value, datetime):
        assert value.utcoffset() == UTC.utcoffset(None)
        return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, list):
        return [told(one) for one in value]
    return json.loads(value) if name in {"actor_metadata", "extra"} else value


def command(settings: Settings, *arguments: object) -> list[str]:
    file = written(settings.runtime_dir.parent, (1, 2), {"recorder": {"url": settings.recorder.url}})
    return [*COMMAND, "export", "--config", str(file), *map(str, arguments)]


def surroundings() -> dict[str, str]:
    return {**environment(), "TERM": "xterm", "COLUMNS": "80"}


def run(settings: Settings, *arguments: object, **more: Any) -> subprocess.CompletedProcess[str]:  # noqa: ANN401 - subprocess'
    more = {"stdout": subprocess.PIPE} | more
    return subprocess.run(
        command(settings, *arguments),
        cwd=ROOT,
        env=surroundings(),
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
        check=False,
        **more,
    )


def test_each_interception_is_a_line_of_json(database: Database, tmp_path: Path) -> None:
    export(database.settings, "jsonl", tmp_path / "out.jsonl")
    first, second, third = lines(tmp_path / "out.jsonl")
    assert [one["id"] for one in (first, second, third)] == ["1", "2", "3"]
    assert (first["actor_metadata"], first["streaming"], first["http_status"]) == ({"team": "blue"}, True, 200)
    assert [len(first[name]) for name in pages.NESTED] == [1, 2, 1, 1]
    assert (first["tool_usages"][0]["input"], first["token_usages"][0]["extra"]) == (None, {"total_tokens": 37})
    assert (second["status"], second["error_type"], second["http_status"]) == ("failed", "lost", None)
    assert (third["started_at"], third["ended_at"], third["prompts"][0]["prompt"]) == (LATER, None, "hello")


def test_parquet_has_the_same(database: Database, tmp_path: Path) -> None:
    for form in ("jsonl", "parquet"):
        export(database.settings, form, tmp_path / f"out.{form}")
    table = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    assert str(table.schema.field("started_at").type) == "timestamp[us, tz=UTC]"
    assert [told(row) for row in table.to_pylist()] == lines(tmp_path / "out.jsonl")


def test_row_groups_are_written_as_they_are_full(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory holds one of them."""
    monkeypatch.setattr(pages, "AT_ONCE", 1)
    monkeypatch.setattr(parquet, "ROWS", 2)
    export(database.settings, "parquet", tmp_path / "out.parquet")
    file = pyarrow.parquet.ParquetFile(tmp_path / "out.parquet")
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [2, 1]
    assert file.read(["id"]).to_pylist() == [{"id": "1"}, {"id": "2"}, {"id": "3"}]


def test_only_the_days_asked_for_are_exported(database: Database, tmp_path: Path) -> None:
    export(database.settings, "jsonl", tmp_path / "1", until="2001-09-09")
    export(database.settings, "jsonl", tmp_path / "2", since="2001-09-10")
    export(database.settings, "parquet", tmp_path / "3", since="2001-09-11")
    assert [one["id"] for one in lines(tmp_path / "1")] == ["1", "2"]
    assert [one["id"] for one in lines(tmp_path / "2")] == ["3"]
    assert pyarrow.parquet.read_table(tmp_path / "3").num_rows == 0


def test_a_failure_leaves_nothing(database: Database, tmp_path: Path) -> None:
    """Nor does it harm what was there."""
    database.run("DROP TABLE model_thoughts")
    before = set(tmp_path.iterdir())
    for form in ("jsonl", "parquet"):
        with pytest.raises((JournalUnavailable, StoreUnavailable)):
            export(database.settings, form, tmp_path / "out")
    assert set(tmp_path.iterdir()) == before
    (tmp_path / "out").write_text("older")
    with pytest.raises((JournalUnavailable, StoreUnavailable)):
        export(database.settings, "jsonl", tmp_path / "out", force=True)
    assert (tmp_path / "out").read_text() == "older"


@pytest.mark.parametrize("order", [signal.SIGTERM, signal.SIGINT])
def test_who_is_told_to_end_leaves_nothing(settings: Settings, tmp_path: Path, order: signal.Signals) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    process = subprocess.Popen(
        command(settings, "--output", folder / "all.jsonl"), env=surroundings(), cwd=ROOT, stderr=subprocess.PIPE
    )
    eventually(lambda: any(folder.iterdir()), "a file that is not whole")
    process.send_signal(order)
    _, said = process.communicate(timeout=PATIENCE)
    assert b"Traceback" not in said
    assert [file for file in folder.iterdir() if file.suffix == ".part"] == []


def test_between_two_pages_it_can_be_told_to_end(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(OutputFailed, match="told to end"):
        export(settings, "jsonl", tmp_path / "all.jsonl", stop=lambda: True)
    assert not [file for file in tmp_path.iterdir() if "jsonl" in file.name]


def test_the_file_is_its_owner_s_alone(settings: Settings, tmp_path: Path) -> None:
    export(settings, "jsonl", tmp_path / "out.jsonl")
    assert stat.S_IMODE((tmp_path / "out.jsonl").stat().st_mode) == 0o600


def test_a_file_is_replaced_only_with_force(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    file.write_text("older")
    with pytest.raises(BadSetting) as caught:
        export(settings, "jsonl", file)
    assert str(caught.value) == f'--output = "{file}": it is there already; --force replaces it'
    assert file.read_text() == "older"
    export(settings, "jsonl", file, force=True)
    assert len(lines(file)) == LINES


def test_who_is_faster_keeps_the_name(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="it is there already"), output(tmp_path / "out", force=False):
        (tmp_path / "out").write_text("theirs")
    assert [one.read_text() for one in tmp_path.iterdir()] == ["theirs"]


def test_the_name_is_taken_once_the_file_is_whole(tmp_path: Path) -> None:
    with output(tmp_path / "out", force=False) as file:
        file.write(b"ours")
        assert not (tmp_path / "out").exists()
    assert [one.read_text() for one in tmp_path.iterdir()] == ["ours"]


@pytest.mark.parametrize("name", ["folder", "fifo", "link"])
def test_what_is_no_file_is_never_replaced(tmp_path: Path, name: str) -> None:
    """Least of all a device: root may."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(BadSetting, match=f'/{name}": expected a file$'), output(tmp_path / name, force=True):
        pass


def test_a_folder_that_is_missing_is_a_line(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(OutputFailed, match=r"^export to .*/nowhere/out: No such file or directory$"):
        export(settings, "jsonl", tmp_path / "nowhere" / "out")


def test_a_service_is_not_asked_for_the_fleet_s_prompts(tmp_path: Path) -> None:
    """A sidecar's certificate opens it."""
    settings = Settings(runtime_dir=tmp_path, recorder=Recorder(url="grpc://127.0.0.1:9470"))
    with pytest.raises(
        BadSetting, match=r'^recorder\.url = "grpc://127\.0\.0\.1:9470": export where the recorder runs'
    ):
        export(settings, "jsonl")


def test_what_is_no_day_is_a_line(settings: Settings) -> None:
    result = run(settings, "--since", "tomorrow")
    line = "aibridge-sidecar: since = 'tomorrow': expected a day, YYYY-MM-DD\n"
    assert (result.returncode, result.stdout, result.stderr) == (2, "", line)


def test_parquet_needs_a_file(settings: Settings) -> None:
    result = run(settings, "--format", "parquet")
    line = 'aibridge-sidecar: --format = "parquet": expected --output FILE with it\n'
    assert (result.returncode, result.stdout, result.stderr) == (2, "", line)


def test_parquet_without_pyarrow_is_a_line(settings: Settings, tmp_path: Path) -> None:
    without = "import sys; sys.modules['pyarrow'] = None; from sidecar.cli import main; main()"
    _, _, _, *arguments = command(settings, "--format", "parquet", "--output", tmp_path / "out")
    result = subprocess.run(
        [sys.executable, "-c", without, *arguments],
        cwd=ROOT,
        env=surroundings(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (result.returncode, len(result.stderr.splitlines())) == (1, 1)
    assert 'pip install "aibridge-sidecar[parquet]"' in result.stderr
    assert not (tmp_path / "out").exists()


def test_lines_go_to_standard_output(settings: Settings) -> None:
    result = run(settings)
    assert (result.returncode, result.stderr) == (0, "")
    assert len([json.loads(line) for line in result.stdout.split("\n")[:-1]]) == LINES


def test_a_reader_that_leaves_is_no_error(settings: Settings) -> None:
    """As with `| head`."""
    with subprocess.Popen(
        command(settings), cwd=ROOT, env=surroundings(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        assert json.loads(process.stdout.readline())["id"] == "00"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(PATIENCE) == 1


def test_a_full_disk_is_a_line(settings: Settings) -> None:
    with Path("/dev/full").open("wb") as full:
        result = run(settings, stdout=full)
    line = "aibridge-sidecar: export to standard output: No space left on device\n"
    assert (result.returncode, result.stderr) == (1, line)


def at_a_terminal(settings: Settings, *arguments: object, stdout: Any = None) -> str:  # noqa: ANN401 - subprocess'
    """What the command shows there."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command(settings, *arguments),
        cwd=ROOT,
        env=surroundings(),
        stdin=subprocess.DEVNULL,
        stdout=stdout or theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        shown = b"".join(_read(ours))
        assert process.wait(PATIENCE) == 0
    os.close(ours)
    return shown.decode()


def _read(terminal: int) -> Iterator[bytes]:
    try:
        while some := os.read(terminal, 65_536):
            yield some
    except OSError:  # Linux' way to say that nobody has the other end any more
        return


def test_who_waits_at_a_terminal_sees_how_far_it_is(settings: Settings, tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as file:
        shown = at_a_terminal(settings, stdout=file)
    assert f"{LINES}/{LINES}" in shown
    assert len(lines(tmp_path / "out")) == LINES


def test_nothing_in_a_record_steers_a_terminal(settings: Settings) -> None:
    """And no bar gets between the lines."""
    shown = at_a_terminal(settings, "--until", "2001-09-09")
    assert [character for character in set(shown) if not " " <= character <= "~"] in (["\r", "\n"], ["\n", "\r"])
    assert len([json.loads(line) for line in shown.splitlines()]) == LINES
