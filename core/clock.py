"""How long a piece of work may take: a watch that stands still while others have their turn."""

from __future__ import annotations

import time


class Clock:
    """Counts the seconds that are spent inside of `with clock:`, and says when they are more than `most`."""

    def __init__(self, most: float) -> None:
        self.most, self.spent, self._since = most, 0.0, 0.0

    def __enter__(self) -> None:
        self._since = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self.spent += time.perf_counter() - self._since

    @property
    def over(self) -> bool:
        return self.spent > self.most
