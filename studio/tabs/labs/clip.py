"""CLIP: pictures against captions with both forms of its loss, an upload among names, and a tiny CLIP that learns live."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from core.errors import UserError
from core.recipe import MAX_TEXT, clean_text
from studio.service.engine import USUAL, Engine
from studio.tabs.labs.desk import PRICE, buttons, canvas, worked
from studio.widgets.base import ENGINE, LATEX, PRIVATE, texts
from studio.widgets.checks import whole
from studio.widgets.kept import remembered, unseen
from studio.widgets.settings import Settings
from studio.widgets.uploads import SafeImage
from studio.work import clip as work

if TYPE_CHECKING:
    from torch import Tensor

MOST_PAIRS, MOST_SEED = 12, 99
KINDS = ("cosine", "rows", "columns")  # what the matrix can show, the last two as softmax
NO_PICTURE = "There is no picture yet: upload one as PNG, JPEG or WebP, and press Classify."


def page(engine: Engine) -> Settings:
    """Lay out the matrix, the classification and the training, one below the other."""
    matrix_text, zero_text, tiny_text = texts("labs-clip")
    if sentence := work.lacks(engine.pipe):
        gr.Markdown(sentence, elem_classes="lesson")
        return Settings()
    known: dict[str, Tensor] = {}

    gr.Markdown(matrix_text, elem_classes="lesson", latex_delimiters=LATEX)
    with gr.Row(elem_classes="labs-row"):
        count = gr.Slider(2, MOST_PAIRS, 8, step=1, label="Pairs N", elem_id="clip-count")
        draw = gr.Slider(0, MOST_SEED, 0, step=1, label="Which pictures", elem_id="clip-draw")
    pair = buttons("Compare", "clip")
    pairs = worked(engine, canvas("pairs", "labs-clip", {}), pair)
    tau = unseen(gr.Number, 0, "Temperature of the matrix", minimum=0, maximum=10)  # 0: as it was learnt
    matrix = remembered(pairs.stage, tau=tau, matrix=unseen(gr.Radio, KINDS[0], "What the matrix shows", choices=list(KINDS)))

    gr.Markdown(zero_text, elem_classes="lesson", latex_delimiters=LATEX)
    with gr.Row(elem_classes="labs-row"):
        image = SafeImage(label="Your picture: PNG, JPEG or WebP", height=200, elem_id="clip-own", scale=1)
        names = gr.Textbox("", label="Names, with commas between; without any, all that the model knows", lines=2, max_lines=4,
                           max_length=MAX_TEXT, placeholder="red apple, cat, house", elem_id="clip-names", scale=2)  # fmt: skip
    pair = buttons("Classify", "zero")
    zero = worked(engine, canvas("zero", "labs-clip", {}), pair)

    gr.Markdown(tiny_text, elem_classes="lesson", latex_delimiters=LATEX)
    seed = gr.Slider(0, MOST_SEED, 0, step=1, label="Seed of the training", elem_id="tiny-seed")
    pair = buttons("Train", "tiny")
    tiny = worked(engine, canvas("tiny", "labs-clip", {}), pair)

    async def compare(request: gr.Request, count: Any, draw: Any) -> AsyncIterator[dict[Any, Any]]:
        def make() -> tuple[Any, float]:
            given = whole("pairs", count, 2, MOST_PAIRS), whole("which pictures", draw, 0, MOST_SEED)
            return functools.partial(work.matched, engine.pipe, *given), USUAL

        async for update in pairs.follow(request, make):
            yield update

    async def classify(request: gr.Request, image: Any, names: Any) -> AsyncIterator[dict[Any, Any]]:
        def make() -> tuple[Any, float]:
            if image is None:
                raise UserError(NO_PICTURE)
            given = work.names_of(clean_text(names if isinstance(names, str) else "")[:MAX_TEXT])
            return functools.partial(work.classified, engine.pipe, image, given, known), USUAL

        async for update in zero.follow(request, make):
            yield update

    async def train(request: gr.Request, seed: Any) -> AsyncIterator[dict[Any, Any]]:
        def make() -> tuple[Any, float]:
            return functools.partial(work.taught, engine.pipe, whole("seed", seed, 0, MOST_SEED)), 5 * PRICE

        async for update in tiny.follow(request, make):
            yield update

    pairs.go.click(compare, [count, draw], pairs.outputs, trigger_mode="once", **ENGINE, **PRIVATE)
    zero.go.click(classify, [image, names], zero.outputs, trigger_mode="once", **ENGINE, **PRIVATE)
    tiny.go.click(train, seed, tiny.outputs, trigger_mode="once", **ENGINE, **PRIVATE)
    return Settings(view={"pairs": count, "draw": draw, "classes": names, "tiny_seed": seed, **matrix})
