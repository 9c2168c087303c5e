"""Weights in a prompt, `a (red:1.3) apple`, as other programs write them, and where they act.

    (word) ×1.1    (word:1.3) ×1.3    [word] ÷1.1    nested ones multiply;  \\( \\) \\[ \\] are the signs themselves     (1)
    c_i  ←  c⁰_i + w_i·(c_i − c⁰_i)                                                                                (2)

c_i is what the text encoder hands out for token i, c⁰_i the same place of the empty prompt: (2) is guidance's formula on one
token. w = 1 changes nothing, to the bit; w = 0 leaves what the empty prompt has there. The tokens behind have read the word
already, so even at 0 it does not vanish. The tokenizer never sees the signs: a weight changes no token.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from core.nets.tokenizer import Tokenizer

LEAST, MOST = 0.0, 5.0  # weights beyond count as these
FAR = 1e9  # beyond this a product is held, so that no infinity meets a zero
USUAL = 1.1  # what a pair without a number is worth
_SIGNS = re.compile(r"\\[\\()\[\]]|[()\[\]]")
_NUMBER = re.compile(r":\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*$")
_EDITING = re.compile(r"\||:\s*[\d.]+\s*$")  # [a:b:0.5] and [a|b] exchange words on the way elsewhere; here they are text
_CLOSES = {")": "(", "]": "["}


@dataclass(frozen=True)
class Said:
    """A prompt without its weights, the weight of each of its characters, and whether one had to be brought into range."""

    text: str
    weights: tuple[float, ...]
    clipped: bool = False

    @property
    def weighted(self) -> bool:
        return any(weight != 1 for weight in self.weights)


def said(prompt: str) -> Said:
    """Equation (1): the words of a prompt and their weights; a sign without its counterpart stands for itself."""
    groups = _groups(prompt)
    letters, weights, within = [], [], [1.0]
    at, clipped = 0, False
    while at < len(prompt):
        if at in groups:
            end, factor = groups[at]
            within = within[:-1] if factor is None else [*within, _held(within[-1] * factor)]
            at = end
            continue
        at += 1 if prompt[at] == "\\" and _SIGNS.match(prompt, at) else 0
        exact = round(within[-1], 6)  # ([word]) is 1 again
        weight = min(max(exact, LEAST), MOST)
        clipped |= weight != exact
        letters.append(prompt[at])
        weights.append(weight)
        at += 1
    return Said("".join(letters), tuple(weights), clipped)


def plain(prompt: str) -> str:
    """The words of a prompt without its weights."""
    return said(prompt).text


def named_in(prompt: str, names: Iterable[str]) -> str | None:
    """The longest of some names that stands in a prompt in whole words, whatever its weights, commas and case; None: none does."""
    words = f" {' '.join(plain(prompt).lower().replace(',', ' ').split())} "
    return max((name for name in names if f" {name.lower()} " in words), key=len, default=None)


def _held(weight: float) -> float:
    return min(max(weight, -FAR), FAR)


def _groups(prompt: str) -> dict[int, tuple[int, float | None]]:
    """Where a group opens or closes: the place behind its sign, and the factor that holds from there, None where it ends."""
    found: dict[int, tuple[int, float | None]] = {}
    opened: list[int] = []
    for sign in _SIGNS.finditer(prompt):
        at, letter = sign.start(), sign.group()
        if letter in "([":
            opened.append(at)
        elif letter in _CLOSES:
            mates = [place for place, start in enumerate(opened) if prompt[start] == _CLOSES[letter]]
            if not mates:
                continue
            start = opened[mates[-1]]
            del opened[mates[-1] :]  # what was opened within and never closed stands for itself
            inside = prompt[start + 1 : at]
            number = _NUMBER.search(inside)
            if letter == "]":
                if _EDITING.search(inside):
                    continue
                number = None
            factor = _held(float(number[1])) if number else USUAL if letter == ")" else 1 / USUAL
            found[start] = (start + 1, factor)
            found[start + 1 + number.start() if number else at] = (at + 1, None)
    return found


def token_weights(tokenizer: Tokenizer, one: Said) -> Tensor:
    """The weight of every place of a row of `Tokenizer.encode` [L]: that of the first letter of its piece, 1 elsewhere."""
    weights = torch.ones(tokenizer.length)
    for place, (_, _, (start, _)) in enumerate(tokenizer.pieces(one.text)[: tokenizer.length - 2], start=1):
        weights[place] = one.weights[start]
    return weights


def emphasised(states: Tensor, empty: Tensor, weights: Tensor) -> Tensor:
    """Equation (2) for states [B, L, D], those of the empty prompt [L, D] and weights [B, L]."""
    w = weights[..., None].to(states)
    return torch.where(w == 1, states, empty + w * (states - empty))
