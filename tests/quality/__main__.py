"""`python -m tests.quality`: how good the embedded model is, by a judge that only shares its training data.

Needs the drawings (`python -m core.training data`). Prints one JSON object a row; the first that asks the judge trains it, once.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core import load_pipeline
from core.metrics import frechet_distance, psnr
from core.pipeline import EMBEDDED, TextToImage
from tests.quality import examples
from tests.quality.card import keep
from tests.quality.judge import Judge, drawings, train
from tests.quality.page import page
from tests.quality.prompts import Catalogue, Question, asked, drawn, scores

ROWS = ("judge", "vae", "clip", "trained", "held out", "colours", "languages", "frechet")
EXAMPLES = "examples"  # no row: the prompts that stand under the prompt box are chosen anew


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.quality", description=__doc__)
    parser.add_argument("rows", nargs="*", default=list(ROWS), help=f"which rows, of {', '.join(ROWS)}, or {EXAMPLES}")
    parser.add_argument("--model", type=Path, default=EMBEDDED)
    parser.add_argument("--data", type=Path, default=Path(".data/emoji-128"))
    parser.add_argument("--work", type=Path, default=Path(".train/judge"))
    parser.add_argument("--page", type=Path, help="write the page of samples to this PNG")
    parser.add_argument("--card", action="store_true", help="keep the rows beside the model, in quality.json and its README.md")
    parser.add_argument("--every", type=int, default=1, help="ask only every so-manieth question")
    options = parser.parse_args()
    if unknown := set(options.rows) - {*ROWS, EXAMPLES}:
        parser.error(f"there is no row {', '.join(sorted(unknown))}: choose among {', '.join(ROWS)}, {EXAMPLES}")
    pipe = load_pipeline(options.model, device="cpu", dtype="fp32")
    catalogue = Catalogue(pipe.extras.vocabulary, options.data)
    if options.page:
        page(pipe, options.data).save(options.page, optimize=True)

    @functools.cache
    def judge() -> Judge:
        for state in train(options.data, options.work, catalogue.hexcodes):
            if state.step % 100 == 0:
                sys.stderr.write(f"judge {state.step}/{state.steps} right {state.terms['right']:.2f}\n")
        return Judge(options.work, options.data, catalogue.hexcodes)

    if EXAMPLES in options.rows:
        examples.write(options.model, pipe.hash, examples.chosen(pipe, judge(), catalogue))
    for row in (row for row in options.rows if row != EXAMPLES):
        began = time.perf_counter()
        found = measure(row, pipe, judge, catalogue, options.every)
        sys.stdout.write(json.dumps({"row": row, **found, "seconds": round(time.perf_counter() - began)}) + "\n")
        sys.stdout.flush()
        if options.card:
            keep(options.model, pipe.hash, {row: found})
    return 0


def measure(row: str, pipe: TextToImage, judge: Callable[[], Judge], catalogue: Catalogue, every: int) -> dict[str, Any]:
    """One row of the table."""
    if row == "judge":  # what the judge says of the drawings themselves, as the VAE gives them back
        questions = asked(catalogue, "trained")[::every]
        found = scores(judge(), _rebuilt(pipe, catalogue, questions), questions)
    elif row == "vae":
        pictures = drawings(catalogue.data, catalogue.held_out[::every])
        quality = torch.cat([psnr(_again(pipe, part), part) for part in pictures.split(16)])
        return {"n": len(pictures), "psnr": round(quality.mean().item(), 2), "worst": round(quality.min().item(), 2)}
    elif row == "clip":
        return retrieval(pipe, catalogue)
    elif row == "frechet":
        return frechet(pipe, catalogue, every)
    else:
        questions = asked(catalogue, row)[::every]
        found = scores(judge(), torch.cat(list(drawn(pipe, questions))), questions)
    return {"n": len(questions)} | {name: round(value, 4) for name, value in found.items()}


def _again(pipe: TextToImage, pictures: Tensor) -> Tensor:
    return pipe.decode(pipe.encode(pictures))


def _rebuilt(pipe: TextToImage, catalogue: Catalogue, questions: Sequence[Question]) -> Tensor:
    pairs = [(q.hexcode, q.source or "") for q in questions]
    return torch.cat([_again(pipe, part) for part in drawings(catalogue.data, pairs).split(16)])


def retrieval(pipe: TextToImage, catalogue: Catalogue, among: int = 256) -> dict[str, Any]:
    """The share of held-out pictures whose own caption is first among `among`: the claimed held-out pairs and others beside."""
    from core.training.data import load_records

    pairs = list(catalogue.held_out)
    rest = [r for r in load_records(catalogue.data) if r["split"] == "held_out"]
    pairs += [p for r in rest if (p := (r["hexcode"], r["source"])) not in set(pairs)]
    pairs = pairs[:among]
    named = {(r["hexcode"], r["source"]): f"{r['label']}, {r['style']}" for r in rest}
    pictures, eyes = drawings(catalogue.data, pairs), pipe.extras.eyes
    likeness = eyes.of_pictures(pictures) @ eyes.of_words([named[pair] for pair in pairs]).T
    order = torch.arange(len(pairs))
    return {"n": len(pairs), "caption": round((likeness.argmax(1) == order).float().mean().item(), 4),
            "picture": round((likeness.argmax(0) == order).float().mean().item(), 4)}  # fmt: skip


def frechet(pipe: TextToImage, catalogue: Catalogue, every: int, n: int = 2048) -> dict[str, Any]:
    """Frechet distances to the training pictures on our own CLIP's features: of samples, and of reconstructions."""
    held = set(catalogue.held_out)
    origins = [(o.hexcode, o.source, o.label, o.style) for o in pipe.extras.training.origins if (o.hexcode, o.source) not in held]
    order = np.random.default_rng(0).permutation(len(origins))[: n // every]
    pairs = [origins[i] for i in order]
    white = None
    questions = [Question(f"{label}, {style}", i, code, source, white) for i, (code, source, label, style) in enumerate(pairs)]
    eyes = pipe.extras.eyes

    def seen(pictures: Iterator[Tensor]) -> np.ndarray:
        return torch.cat([eyes.of_pictures(part) for part in pictures]).numpy()

    real = drawings(catalogue.data, [(code, source) for code, source, _, _ in pairs])
    truth = seen(iter(real.split(64)))
    distance: Callable[[np.ndarray], float] = lambda found: round(float(frechet_distance(truth, found).value), 4)  # noqa: E731
    rebuilt = distance(seen(_again(pipe, part) for part in real.split(16)))
    sampled = distance(seen(drawn(pipe, questions)))
    return {"n": len(pairs), "samples": sampled, "reconstructions": rebuilt, "ratio": round(sampled / rebuilt, 2)}


if __name__ == "__main__":
    raise SystemExit(main())
