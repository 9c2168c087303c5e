"""The labs: one tab whose pages are one file each in this folder, so that the row of tabs still fits a phone.

A folder of the tabs and not of the studio, because a lab is laid out as a tab is and may use what a tab may. To add a lab, write
`page(engine) -> Settings` in a file here and a row in PAGES. A page computes nothing before it
is opened: Gradio puts its widgets on the page when its tab is chosen, and whatever it shows at first is asked for then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import Any

import gradio as gr

from studio.service.engine import Engine
from studio.tabs.labs import assumptions, bench, clip, evaluate, inside, lessons, perfect, train
from studio.widgets.settings import Settings

PAGES = (
    ("Claim Bench", "claims", bench.page), ("Assumptions", "assumptions", assumptions.page),
    ("Inside", "inside", inside.page), ("CLIP", "clip", clip.page), ("Evaluate", "evaluate", evaluate.page),
    ("Perfect denoiser", "perfect", perfect.page), ("Train", "train", train.page),
    ("Lessons", "lessons", lessons.page),
)  # fmt: skip
FIELDS, VIEW, SAMPLER, REST = map(attrgetter, ("fields", "view", "sampler", "rest"))


def tab(engine: Engine, demo: gr.Blocks) -> Settings:
    """Lay out the pages."""
    made: list[Settings] = []
    with gr.Tabs(elem_id="labs", overflow_behavior="wrap") as pages:
        for label, name, page in PAGES:
            with gr.Tab(label, id=name):
                made.append(page(engine))
    fields, view = (merged(map(part, made)) for part in (FIELDS, VIEW))
    sampler, rest = (next((found for one in made if (found := part(one))), None) for part in (SAMPLER, REST))
    return Settings(fields, sampler, view, rest, pages=pages)


def merged(tables: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The widgets of all pages by name; ValueError where two pages have one of the same name, since a link could not tell them."""
    found: dict[str, Any] = {}
    for table in tables:
        if twice := found.keys() & table.keys():
            raise ValueError(f"two pages of the labs have a setting named {', '.join(sorted(twice))}")
        found |= table
    return found
