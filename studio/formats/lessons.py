"""Guided lessons, read from assets/lessons/<language>/*.md: predict, run, explain, each step with the state of the app it is about.

A lesson is `# Title`, `Minutes: 6`, a sentence or two, and steps: `## Heading`, then lines that a translator leaves as they are,
`Link: ?v=1&tab=…` (the state that the step opens), `Claims: id, id` (what the answer key measures), then `Asks: …` (the question on
the worksheet), `Answer: …` (what the answer key says, `{id}` standing for the number measured) and its text in Markdown. What
stands around all lessons of a language is in words.md beside them, `- name: words`.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2] / "assets" / "lessons"
OWN = "en"
LESSON, AROUND = "[0-9]*.md", "words.md"
MARKS = ("Link", "Claims", "Asks", "Answer")
PLACE = re.compile(r"(?:([a-z]{2})-)?(\d{1,2})(?:\.(\d{1,2}))?")  # lesson=2, lesson=2.3, lesson=de-2.3


@dataclass(frozen=True)
class Step:
    """One page of a lesson."""

    heading: str
    text: str
    link: str = ""  # the query of the state that it opens, "" to stay
    asks: str = ""
    claims: tuple[str, ...] = ()
    answer: str = ""


@dataclass(frozen=True)
class Lesson:
    """A lesson in one language; `name` is what links call it: 2, or de-2."""

    name: str
    title: str
    minutes: int
    about: str
    steps: tuple[Step, ...]

    @property
    def language(self) -> str:
        return self.name.rpartition("-")[0] or OWN

    def state(self, step: int) -> str:
        """The query of the state that a step is about: its own, or that of the last one before it that brings one."""
        return next((one.link for one in reversed(self.steps[: step + 1]) if one.link), "")

    def address(self, step: int) -> str:
        """The query that opens a step, counted from 0."""
        place = f"lesson={self.name}.{step + 1}"
        link = self.steps[step].link
        return f"{link}&{place}" if link else f"?{place}"


def languages() -> list[str]:
    """What the lessons are written in, English first."""
    found = sorted(folder.name for folder in ROOT.iterdir() if folder.is_dir())
    return sorted(found, key=lambda name: name != OWN)


@functools.cache
def lessons(language: str = OWN) -> tuple[Lesson, ...]:
    """Every lesson of a language, in the order of its files."""
    files = sorted((ROOT / language).glob(LESSON))
    before = "" if language == OWN else f"{language}-"
    return tuple(_lesson(f"{before}{number}", file.read_text(encoding="utf-8")) for number, file in enumerate(files, 1))


@functools.cache
def words(language: str = OWN) -> dict[str, str]:
    """What the list, the panel, the worksheets and the answer keys of a language say around its lessons, by name."""
    text = (ROOT / language / AROUND).read_text(encoding="utf-8")
    return dict(re.findall(r"^- (\w+): (.+)$", text, flags=re.MULTILINE))


def find(place: str) -> tuple[Lesson, int] | None:
    """The lesson and the step that `lesson=` in a link names; None where there is no such step."""
    match = PLACE.fullmatch(place)
    if match is None or (match[1] or OWN) not in languages():
        return None
    number, step = int(match[2]) - 1, int(match[3] or 1) - 1
    known = lessons(match[1] or OWN)
    if not 0 <= number < len(known) or not 0 <= step < len(known[number].steps):
        return None
    return known[number], step


def _lesson(name: str, text: str) -> Lesson:
    head, *parts = re.split(r"^## ", text, flags=re.MULTILINE)
    title, minutes, about = re.fullmatch(r"# (.+)\nMinutes: (\d+)\n(.*)", head, re.DOTALL).groups()  # type: ignore[union-attr]
    return Lesson(name, title, int(minutes), " ".join(about.split()), tuple(map(_step, parts)))


def _step(text: str) -> Step:
    heading, *lines = text.strip().splitlines()
    marked = {}
    while lines and (mark := lines[0].partition(": "))[0] in MARKS:
        marked[mark[0]] = mark[2].strip()
        lines = lines[1:]
    claims = tuple(name.strip() for name in marked.get("Claims", "").split(",") if name.strip())
    text = "\n".join(lines).strip()
    return Step(heading, text, marked.get("Link", ""), marked.get("Asks", ""), claims, marked.get("Answer", ""))
