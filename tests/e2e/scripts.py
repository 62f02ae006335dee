"""What the example provider shall answer, by the request's `x-case`."""

import threading

from examples.answers import Answer, Seen, error_answer


class Script:
    """Calls are requests, answered as scripted; one that says no case is left to the provider's own model."""

    def __init__(self) -> None:
        self._answers: dict[str, list[Answer | None]] = {}
        self._lock = threading.Lock()

    def __setitem__(self, case: str, answers: Answer | list[Answer] | None) -> None:
        """Answer the case with these, one a request; the last of them stays. None: as the model does."""
        with self._lock:
            self._answers[case] = list(answers) if isinstance(answers, list) else [answers]

    def __call__(self, seen: Seen) -> Answer | None:
        if not seen.case:
            return None
        with self._lock:
            answers = self._answers.get(seen.case)
            if not answers:
                return error_answer(500, "Nobody scripted this case.", "no_such_case")
            return answers.pop(0) if len(answers) > 1 else answers[0]
