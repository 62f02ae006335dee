from sidecar.console.guesses import MOST, WINDOW, Guesses


def exhausted(at: float) -> Guesses:
    guesses = Guesses()
    for _ in range(MOST):
        assert guesses.wait(at) == 0
        guesses.miss(at)
    return guesses


def test_after_so_many_wrong_ones_none_is_looked_at_for_a_while() -> None:
    guesses = exhausted(100.0)
    assert guesses.wait(100.0) == WINDOW
    assert guesses.wait(100.0 + WINDOW - 0.5) == 1


def test_asking_on_never_makes_it_longer() -> None:
    """Whoever guesses all the time must not keep the operator away for ever."""
    guesses = exhausted(100.0)
    assert all(guesses.wait(100.0 + second) for second in range(int(WINDOW)))
    assert guesses.wait(100.0 + WINDOW) == 0


def test_a_new_window_counts_anew() -> None:
    guesses = exhausted(100.0)
    guesses.miss(100.0 + WINDOW)
    assert guesses.wrong == 1
