"""Words of strangers cannot become part of the page: no script of ours writes HTML, and no template runs what it is given."""

from __future__ import annotations

import re

import pytest

from studio.widgets.base import ASSETS

WRITES = re.compile(r"\b(innerHTML|outerHTML|insertAdjacentHTML|createContextualFragment|srcdoc|setHTMLUnsafe|parseFromString)\b"
                    r"|document\.write|\beval\s*\(|new Function\b")  # fmt: skip
RUNS = re.compile(r"\{\{\{|\$\{")  # unescaped, or run as script by Gradio
SCRIPTS = sorted((ASSETS / "scripts").glob("*.js"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_script_writes_html(path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert not [(number, line) for number, line in enumerate(lines, 1) if WRITES.search(line)]


@pytest.mark.parametrize("path", sorted((ASSETS / "templates").glob("*.html")), ids=lambda path: path.name)
def test_no_template_puts_words_in_unescaped_or_runs_them(path) -> None:
    assert not RUNS.search(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("line", ["e.innerHTML = x", "e.insertAdjacentHTML('beforeend', x)", "eval (x)", "document.write(x)"])
def test_what_is_looked_for_would_be_found(line: str) -> None:
    assert WRITES.search(line) and len(SCRIPTS) > 10
