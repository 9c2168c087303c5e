"""Runs that are known already: by digest, the least recently used leaving first when their bytes exceed the bound."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace

from core.recipe import Recipe
from studio.service.jobs import Run


class Cache:
    """Finished runs by digest, the least recently used leaving first when their bytes exceed the bound."""

    def __init__(self, most_bytes: int) -> None:
        self._most, self._held = most_bytes, 0
        self._known: OrderedDict[str, Run] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, recipe: Recipe) -> Run | None:
        with self._lock:
            found = self._known.get(recipe.digest)
            if found is not None:
                self._known.move_to_end(recipe.digest)
            return found

    def put(self, run: Run) -> None:
        """Remember a run; one whose steps alone exceed the bound is remembered without them."""
        if run.bytes > self._most:
            run = replace(run, steps=())
        with self._lock:
            if run.recipe.digest in self._known or run.bytes > self._most:
                return
            self._known[run.recipe.digest] = run
            self._held += run.bytes
            while self._held > self._most:
                self._held -= self._known.popitem(last=False)[1].bytes

    def clear(self) -> None:
        with self._lock:
            self._known.clear()
            self._held = 0
