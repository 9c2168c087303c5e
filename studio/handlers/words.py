"""What a model reads of a prompt: its pieces with their numbers and weights, what did not fit, and which words it never met.

Also the examples under the prompt box: pairs of a thing and a style that the model was trained on, taken from its vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from core.emphasis import said

if TYPE_CHECKING:
    from core.extras import Lexicon
    from core.nets.tokenizer import Tokenizer

MOST_LOST = 60  # pieces beyond the end that are shown
MOST_NAMED = 20  # words that are named
ANYBODYS = ("a red apple", "a cat on a chair", "a lighthouse at night", "a blue car")  # for a model without a vocabulary

# What most people would try first; a model shows those of them that it was trained on, each in a style of its own.
FIRST = (
    "red apple", "smiling face with sunglasses", "rocket", "cat face", "house", "tulip", "octopus", "snowman", "guitar", "pizza",
)  # fmt: skip

ELSEWHERE = "una casa"


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


def examples(vocabulary: Mapping[str, Any], lexicon: Lexicon, count: int = 6) -> Sequence[str]:
    """Prompts in the form the model was trained on most, "<label>, <style>", none of a pair that was held out of training.

    Where it learnt that language, one more shows that a prompt need not be English.
    """
    listed = {key: vocabulary.get(key) for key in ("concepts", "styles", "held_out", "colours")}
    concepts, styles, held, colours = ([one for one in group or ()] for group in listed.values())
    label = {str(one["label"]): str(one["hexcode"]) for one in concepts}
    words = [str(one["word"]) for one in styles]
    out = {(str(one["hexcode"]), str(one["style"])) for one in held}
    made: list[str] = []
    for name in [*filter(label.__contains__, FIRST), *label]:
        style = next((word for word in words[len(made) % max(1, len(words)) :] if (label[name], word) not in out), None)
        if style and not any(text.startswith(f"{name},") for text in made):
            made.append(f"{name}, {style}")
        if len(made) == count:
            break
    if made and "blue" in colours:
        made[-1] += ", on a blue background"
    if lexicon.complete and not lexicon.unseen(ELSEWHERE):
        made.append(ELSEWHERE)
    return made or ANYBODYS
