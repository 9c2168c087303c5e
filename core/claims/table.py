"""CLAIMS.md: every claim with what was measured, as one table a theme."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

from core.claims import CLAIMS, THEMES, Claim, Finding, typeset
from core.metrics import Interval

HEAD = """# What the source says, and what was measured

Written by `python -m core.claims`; do not edit. The statements are the source document's, the numbers come from the functions
in `core/claims`, on exact models, on arrays and on the embedded model (weights {weights}), with 95 % intervals where chance had a
part. The verdict follows from the numbers by a rule that stands in the function. The Labs tab measures each of them anew.
"""
TITLES = {
    "networks": "The U-Net", "attending": "Attention and words", "sampling": "Sampling", "guiding": "Guidance",
    "latents": "Latents", "measuring": "Metrics", "assuming": "Assumptions",
}  # fmt: skip


class Row(NamedTuple):
    """What a line of the table and the code must agree on."""

    id: str
    row: int
    says: str


def document(findings: Mapping[str, Finding], weights: str) -> str:
    """The whole file, measured on these weights; a claim that was not measured is left out."""
    parts = [HEAD.format(weights=weights)]
    for theme in THEMES:
        own = [claim for claim in CLAIMS.values() if claim.theme == theme and claim.id in findings]
        parts += [f"## {TITLES[theme]}\n", *(entry(claim, findings[claim.id]) for claim in own)] if own else []
    return "\n".join(parts)


def entry(claim: Claim, finding: Finding) -> str:
    """One claim: what is said, what qualifies it, what was found, and how."""
    lines = [f"### {claim.row}. `{claim.id}`: {finding.verdict}\n", f"> {claim.says}\n"]
    lines += [f"Qualified: {claim.note}\n"] if claim.note else []
    lines += [f"**{shown(finding.value, claim.unit)}**. {finding.told}\n", f"How: {claim.doc}{cited(claim)}\n"]
    return "\n".join(lines)


def renewed(text: str, claim: Claim, finding: Finding) -> str:
    """A written file with one claim's entry measured anew and everything else as it was."""
    start = text.index(f"### {claim.row}. `{claim.id}`:")
    ends = [at for mark in ("\n### ", "\n## ") if (at := text.find(mark, start)) >= 0]
    return text[:start] + entry(claim, finding) + text[min(ends, default=len(text)) :]


def cited(claim: Claim) -> str:
    """The paper as a link."""
    return f" [{claim.paper}](https://arxiv.org/abs/{claim.paper})"


def shown(value: Interval, unit: str) -> str:
    """A value with its interval and unit, as one says it."""
    if math.isnan(value.value):
        return "nothing to measure"
    if not math.isfinite(value.low) or number(value.low) == number(value.high) == number(value.value):
        return f"{number(value.value)} {unit}".strip()
    return f"{number(value.value)} [{number(value.low)}, {number(value.high)}] {unit}".strip()


def number(value: float) -> str:
    """Three digits; powers of ten where there are many noughts."""
    if value and (abs(value) < 1e-3 or abs(value) >= 1e5):
        return typeset(f"{value:.1e}").replace("-", "−")
    return f"{value:.3g}".replace("-", "−") if abs(value) < 1000 else f"{value:,.0f}"


def verdicts(text: str) -> dict[str, str]:
    """The verdict of a written file on every claim."""
    return dict(re.findall(r"^### \d+\. `(\w+)`: (.*)$", text, re.MULTILINE))


def rows(text: str) -> list[Row]:
    """What a written file says, in its order."""
    found = re.findall(r"^### (\d+)\. `(\w+)`: .*\n\n> (.*)$", text, re.MULTILINE)
    return [Row(name, int(row), says) for row, name, says in found]


def expected() -> list[Row]:
    """What the code has, in the order of the file."""
    return [Row(c.id, c.row, c.says) for theme in THEMES for c in CLAIMS.values() if c.theme == theme]
