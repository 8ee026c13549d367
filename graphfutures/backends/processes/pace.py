"""How quick the tasks of one worker are, and so how many of them it is handed."""

from __future__ import annotations

from typing import Final

#: how many tasks a worker is handed at most
MOST: Final = 2048
#: seconds of work that it is handed
AHEAD: Final = 0.02
#: seconds of work that it is worth to give to another one
WORTH: Final = 0.002
#: how many tasks are looked at for values that they alone need, once such a value was there
GIVES: Final = 100


class Pace:
    """Of one worker."""

    def __init__(self) -> None:
        self._seconds = 0.0  # what a task takes, as far as is known
        #: of how many more tasks it is worth to say whose values they alone need
        self.gives = 0

    def learn(self, seconds: float) -> None:
        """A task has taken so long, or so long on the average."""
        seconds = max(seconds, 1e-6)
        self._seconds = seconds if not self._seconds or seconds > self._seconds else (self._seconds + seconds) / 2

    def learn_given(self, seconds: float) -> None:
        """A task has taken so long whose value one alone may need."""
        self.learn(seconds)
        self.gives = GIVES

    def room(self, held: int) -> int:
        """How many more tasks to hand to a worker that holds so many."""
        most = max(1, min(MOST, int(AHEAD / self._seconds)) if self._seconds else 1)
        return most - held if held <= most // 2 else 0

    def is_worth(self, number: int) -> bool:
        """Whether so many tasks are enough work to be given to another worker."""
        return number * self._seconds >= WORTH
