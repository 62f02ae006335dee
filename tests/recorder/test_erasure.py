"""What holds wherever records are stored."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from sidecar.recorder.batches import CHILDREN, TABLES, Batch
from sidecar.recorder.erasure import Counts, Erasure, Pace, Scope
from sidecar.recorder.erasure.postgres import PostgresErasure
from sidecar.recorder.erasure.sqlite import SqliteErasure
from sidecar.recorder.postgres.store import PostgresStore, migrate
from sidecar.recorder.sqlite_store import SqliteStore
from tests.recorder import journal_samples as samples
from tests.recorder import postgres_samples
from tests.recorder.aged import DAY, child, interception, together

SECOND = timedelta(seconds=1)
MOMENT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where records are: how they get there, what is there, and what is tested."""

    put: Callable[[Batch], object]
    table: Callable[[str], list[dict[str, object]]]
    erasure: Erasure

    def left(self) -> dict[str, list[str]]:
        """By table, whose rows are there."""
        return {
            table: sorted(str(row.get("interception_id", row["id"])) for row in self.table(table)) for table in TABLES
        }


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def sqlite(database: Path) -> Iterator[Place]:
    with closing(SqliteErasure(database)) as erasure, closing(SqliteStore(database)) as store:
        yield Place(put=store.put, table=lambda name: samples.table(database, name), erasure=erasure)


@pytest.fixture
def postgresql(fresh_database: str) -> Iterator[Place]:
    recorder = postgres_samples.recorder(fresh_database)
    migrate(recorder)
    with closing(PostgresErasure(recorder)) as erasure, closing(PostgresStore(recorder)) as store:
        yield Place(put=store.put, table=lambda name: postgres_samples.found(fresh_database, name), erasure=erasure)


def on(_seconds: float) -> bool:
    """The pause of somebody who never tires."""
    return False


def whole(*names: str) -> dict[str, list[str]]:
    """What `Place.left` says of them, each with one row in every table."""
    return {table: sorted(names) for table in TABLES}


def each(count: int, left: int = 0) -> Counts:
    return Counts(rows=Counter(dict.fromkeys(TABLES, count)), left=left)


def test_what_started_before_goes_with_all_that_belongs_to_it(place: Place) -> None:
    """To the microsecond, whenever it ended."""
    place.put(
        together(
            interception("old", DAY - 2 * SECOND),
            interception("last", DAY - MOMENT, lasted=timedelta(hours=1)),
            interception("first", DAY),
        )
    )
    assert place.erasure.erase(Scope(before=DAY), on) == each(2)
    assert place.left() == whole("first")


def test_an_actor_s_go_and_nobody_else_s(place: Place) -> None:
    """A name is compared as it is, not as a pattern, nor by its letters alone."""
    names = ("alice", "Alice", "alice ", "alic_", "%", "", "bob")
    place.put(together(*(interception(f"of {name}", DAY, name) for name in names)))
    assert place.erasure.erase(Scope(actor="alice"), on) == each(1)
    assert place.erasure.erase(Scope(actor="%"), on) == each(1)
    assert place.left() == whole(*(f"of {name}" for name in names if name not in {"alice", "%"}))


def test_nobody_s_are_an_actor_s(place: Place) -> None:
    place.put(together(interception("nobody's", DAY, ""), interception("bob's", DAY, "bob")))
    assert place.erasure.erase(Scope(actor=""), on) == each(1)
    assert place.left() == whole("bob's")


def test_an_actor_s_until_a_day(place: Place) -> None:
    place.put(
        together(
            interception("theirs", DAY - SECOND),
            interception("theirs, later", DAY),
            interception("another's", DAY - SECOND, "bob"),
        )
    )
    assert place.erasure.erase(Scope(actor="alice", before=DAY), on) == each(1)
    assert place.left() == whole("theirs, later", "another's")


@pytest.mark.parametrize("scope", [Scope(before=DAY), Scope(actor="alice")])
def test_what_is_open_stays_and_is_told(place: Place, scope: Scope) -> None:
    """With its prompt. Its end is still to come."""
    place.put(together(interception("open", DAY - SECOND, lasted=None), interception("ended", DAY - SECOND)))
    assert place.erasure.count(scope) == each(1, left=1)
    assert place.erasure.erase(scope, on) == each(1, left=1)
    assert place.left() == whole("open")
    assert [row["open_prompt"] for row in place.table("interceptions")] == ["hello"]


@pytest.mark.parametrize("scope", [Scope(before=DAY), Scope(actor="alice"), Scope(actor="alice", before=DAY)])
def test_counting_says_what_erasing_does_and_changes_nothing(place: Place, scope: Scope) -> None:
    place.put(
        together(
            interception("1", DAY - SECOND),
            interception("2", DAY - SECOND, children=("token_usages",)),
            interception("3", DAY - SECOND, "bob"),
            interception("4", DAY + SECOND, "alice"),
        )
    )
    before = place.left()
    counted = place.erasure.count(scope)
    assert place.left() == before
    assert place.erasure.erase(scope, on) == counted
    assert place.erasure.count(scope) == Counts()


def test_what_belongs_to_nothing_goes_by_its_own_age(place: Place) -> None:
    """A record may be there without its interception, when that could not be held."""
    orphans = {
        table: [child(table, "gone", DAY - SECOND), child(table, "gone too", DAY + SECOND)] for table in CHILDREN
    }
    place.put(together(interception("open", DAY - SECOND, lasted=None), Batch(rows=orphans)))
    expected = Counts(rows=Counter(dict.fromkeys(CHILDREN, 1)), left=1)
    assert place.erasure.count(Scope(before=DAY)) == expected
    assert place.erasure.erase(Scope(before=DAY), on) == expected
    assert place.left() == {"interceptions": ["open"]} | {table: ["gone too", "open"] for table in CHILDREN}


def test_an_actor_s_erasure_leaves_what_belongs_to_nobody(place: Place) -> None:
    place.put(Batch(rows={"user_prompts": [child("user_prompts", "gone", DAY)]}))
    assert place.erasure.erase(Scope(actor="alice"), on) == Counts()
    assert place.left()["user_prompts"] == ["gone"]


def test_many_go_in_many_transactions(place: Place) -> None:
    """Of which each is told, and after each the writers have their turn."""
    place.put(together(*(interception(f"{number:04d}", DAY - number * SECOND) for number in range(620))))
    pauses: list[float] = []
    told: list[int] = []
    counts = place.erasure.erase(Scope(before=DAY), lambda seconds: bool(pauses.append(seconds)), told.append)
    assert counts == each(619)
    assert sum(told) == 619
    assert len(pauses) >= len(told) >= 2
    assert place.left() == whole("0000")


def test_it_stops_when_told_to_and_what_is_done_is_done(place: Place) -> None:
    place.put(together(*(interception(f"{number:04d}", DAY - SECOND) for number in range(620))))
    told: list[int] = []
    counts = place.erasure.erase(Scope(before=DAY), lambda _: True, told.append)
    assert counts == each(told[0])
    assert len(told) == 1
    assert place.erasure.erase(Scope(before=DAY), on) == each(620 - told[0])


def test_a_scope_is_never_everything() -> None:
    with pytest.raises(ValueError, match="a scope of everything"):
        Scope()


def test_a_transaction_that_lasts_is_followed_by_smaller_ones() -> None:
    """And the pause after it is in proportion, up to a second; afterwards they grow again, by twice at most."""
    pauses: list[float] = []
    pace = Pace(100, lambda seconds: bool(pauses.append(seconds)))
    pace.give_way(1.0, 1.125)
    assert (pace.size, pauses) == (40, [0.5])
    pace.give_way(2.0, 2.0)
    assert (pace.size, pauses) == (80, [0.5, 0.0])
    pace.give_way(0.0, 1000.0)
    assert (pace.size, pauses[-1], pace.stopped) == (1, 1.0, False)


def test_pauses_are_over_as_soon_as_somebody_says_stop() -> None:
    stop = threading.Event()
    stop.set()
    pace = Pace(100, stop.wait)
    assert not pace.try_again()
    assert pace.stopped
