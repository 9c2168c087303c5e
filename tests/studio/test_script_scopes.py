"""Scripts that are joined for one widget share one scope: no name may stand at the top of two of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import gradio as gr
import pytest

from studio import app
from studio.service.engine import Engine

GIVEN = ("element", "props", "trigger", "watch")  # what Gradio hands to a script
FUNCTION = re.compile(r"^(?:async )?function\*? ?([\w$]+)|^class ([\w$]+)")
VALUE = re.compile(r"^(?:const|let|var) (.*)$")


def named(script: str) -> Iterator[str]:
    """The names that are declared at the top of a script, where our scripts begin a line with them."""
    for line in script.splitlines():
        if found := FUNCTION.match(line):
            yield found[1] or found[2]
        elif found := VALUE.match(line):
            yield from declared(found[1])


def declared(text: str) -> Iterator[str]:
    """The names in "a = 1, b = [2, 3], { c, d: e } = f": what stands before a "=", outside of values."""
    if text[0] in "{[":
        inside = text[1 : min(text.find(end) for end in "}]" if end in text)]
        yield from (part.split("=")[0].split(":")[-1].strip(" .") for part in inside.split(","))
        return
    depth, begins = 0, 0
    for at, letter in enumerate(f"{text},"):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth <= 0:
            if found := re.match(r"\s*([\w$]+)\s*(?:=(?!=|>)|;?$)", text[begins:at]):
                yield found[1]
            begins = at + 1


@pytest.fixture(scope="module")
def joined(pipe) -> set[str]:
    """The script of every widget that has one, as the page gets it."""
    engine = Engine(pipe)
    try:
        blocks = app.build(engine).blocks.values()
    finally:
        engine.close()
    return {block.js_on_load for block in blocks if isinstance(block, gr.HTML) and block.js_on_load}


def test_no_name_stands_twice_at_the_top_of_what_is_joined_for_one_widget(joined: set[str]) -> None:
    twice = {name for script in joined for name, times in Counter((*GIVEN, *named(script))).items() if times > 1}
    assert not twice and len(joined) > 20 and all("show" in named(script) for script in joined if "\nfunction show(" in script)


@pytest.mark.parametrize(("script", "names"), [
    ("const a = 1;\nfunction b() {\n  const c = 1;\n}\nclass D {}", ["a", "b", "D"]),
    ("let resting = null, waiting = {};", ["resting", "waiting"]),
    ("const { a, b: c } = props;\nconst [d, e] = [1, 2];", ["a", "c", "d", "e"]),
    ("const f = (x, y) => [x, y], g = 3;\nasync function h() {}\nlet i;", ["f", "g", "h", "i"]),
])  # fmt: skip
def test_the_names_at_the_top_of_a_script_are_found(script: str, names: list[str]) -> None:
    assert list(named(script)) == names
