"""Never more than it may be, never older, and nobody else's file touched."""

import os
import threading
from pathlib import Path

import pytest

from sidecar.telemetry.dumps.names import REQUEST
from sidecar.telemetry.dumps.shelf import Shelf

MOST = 1_048_576
PLACE = ("openai", "m")


def shelf(root: Path, *, workers: int = 1, age: float = 100.0, now: float = 1000.0) -> Shelf:
    return Shelf(root, most=MOST, age=age, workers=workers, now=lambda: now)


def name(number: int) -> str:
    return f"019a0000-0000-7000-8000-{number:012d}{REQUEST}"


def size(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def put(to: Shelf, number: int, length: int, at: float = 1000.0) -> Path:
    path = to.begin(PLACE, name(number), b"x" * length)
    os.utime(path, (at, at))
    return path


def test_the_oldest_go_when_there_is_too_much(tmp_path: Path) -> None:
    keeping = shelf(tmp_path)
    for number in range(40):
        put(keeping, number, 50_000, 1000 + number)
        assert size(tmp_path) <= MOST
    left = sorted(path.name for path in tmp_path.rglob("*.txt"))
    assert left == [name(number) for number in range(40 - len(left), 40)]
    assert size(tmp_path) > MOST * 0.8


def test_several_workers_together_keep_to_the_bound(tmp_path: Path) -> None:
    def work(worker: int) -> None:
        keeping = shelf(tmp_path, workers=4)
        for number in range(40):
            path = keeping.begin(PLACE, name(worker * 100 + number), b"x" * 10_000)
            keeping.append(path, b"y" * 40_000)
            with keeping._alone():  # noqa: SLF001 - nothing goes, so that nothing counts beside what comes for it
                sizes.append(size(tmp_path))

    sizes: list[int] = []
    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sizes) == 160
    assert max(sizes) <= MOST


def test_what_is_too_old_goes(tmp_path: Path) -> None:
    keeping = shelf(tmp_path, now=1000.0, age=100.0)
    put(keeping, 1, 10, 899.0)
    young = put(keeping, 2, 10, 901.0)
    keeping.tidy()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [young]


def test_a_folder_that_is_empty_goes_too(tmp_path: Path) -> None:
    keeping = shelf(tmp_path)
    put(keeping, 1, 10, 0.0)
    keeping.tidy()
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_ours_stays_however_old(tmp_path: Path) -> None:
    keeping = shelf(tmp_path)
    theirs = put(keeping, 1, 10, 0.0).with_name("notes.txt")
    theirs.write_text("theirs")
    os.utime(theirs, (0, 0))
    keeping.tidy()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [theirs]


def test_a_file_that_was_deleted_stays_gone(tmp_path: Path) -> None:
    """A response may go on for long after its dump was the oldest."""
    keeping = shelf(tmp_path)
    path = put(keeping, 1, 10)
    path.unlink()
    keeping.append(path, b"more")
    assert not path.exists()


def test_one_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "theirs"
    other.write_text("theirs")
    keeping = shelf(tmp_path / "dumps")
    path = put(keeping, 1, 10)
    path.unlink()
    path.symlink_to(other)
    with pytest.raises(OSError, match="symbolic links"):
        keeping.append(path, b"ours")
    assert other.read_text() == "theirs"
