"""What a model reads of a prompt: its pieces with their numbers and weights, what did not fit, and which words it never met."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from core.emphasis import said

if TYPE_CHECKING:
    from core.extras import Lexicon
    from core.nets.tokenizer import Tokenizer

MOST_LOST = 60  # pieces beyond the end that are shown
MOST_NAMED = 20  # words that are named


def reading(tokenizer: Tokenizer, lexicon: Lexicon, prompt: str) -> dict[str, Any]:
    """A prompt as the model reads it, for the page."""
    one = said(prompt)
    found = tokenizer.pieces(one.text)
    room = tokenizer.length - 2
    pieces = [
        {
            "text": one.text[start:end] if index == 0 or (start, end) != found[index - 1][2] else "…",  # a letter of several bytes
            "piece": piece, "id": number, "weight": round(one.weights[start], 3), "lost": index >= room,
            "joined": index > 0 and not found[index - 1][0].endswith("</w>"),
        }
        for index, (piece, number, (start, end)) in enumerate(found[: room + MOST_LOST])
    ]  # fmt: skip
    return {
        "pieces": pieces, "begin": tokenizer.bos, "end": tokenizer.eos, "pads": max(0, room - len(found)), "pad": tokenizer.pad,
        "length": tokenizer.length, "count": len(found), "dropped": tokenizer.dropped(one.text)[:400],
        "unseen": lexicon.unseen(one.text)[:MOST_NAMED], "known": len(lexicon.words), "complete": lexicon.complete,
        "weighted": one.weighted, "clipped": one.clipped,
    }  # fmt: skip
