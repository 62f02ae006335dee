"""Whether a journal may grow."""

from contextlib import closing
from pathlib import Path

from sidecar.recorder.journal.connection import connect, used
from sidecar.recorder.journal.room import Room
from tests.recorder.journal_samples import started
from tests.recorder.test_backlog import keep


def test_a_journal_is_full_from_its_bound_on_and_not_when_there_is_room_again(database: Path) -> None:
    """What was deleted makes room, although the file stays as long as it was."""
    with closing(connect(database)) as connection:
        room = Room(database, used(connection) + 100_000)
        room.look()
        assert not room.is_full
        keep(database, *(started(f"i-{number}", "x" * 10_000) for number in range(20)))
        assert not room.is_full  # nobody has looked
        room.look()
        assert room.is_full
        connection.execute("DELETE FROM interceptions")
        room.look()
        assert not room.is_full


def test_of_a_journal_that_cannot_be_read_it_tells_what_it_knew(tmp_path: Path) -> None:
    """A worker whose disk is in trouble refuses by other means."""
    room = Room(tmp_path / "none.db", 1)
    room.look()
    assert not room.is_full
