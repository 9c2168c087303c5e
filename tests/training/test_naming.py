"""The names that a caption must bear in its states: which they are, the loss that asks for them, and that codes stay apart."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from core.training.captions import caption_table
from core.training.contrastive import trim
from core.training.languages import COLOURS, LANGUAGES
from core.training.naming import UNNAMED, Names, codes, naming_loss
from core.training.packages import SOURCES

EOS, BOS = 9, 8


def concept(hexcode: str, label: str) -> dict:
    words = {code: f"{label} {code}" for code in LANGUAGES} | {"en": label}
    return {"hexcode": hexcode, "label": label, "tags": [], "labels": words}


CONCEPTS = [concept("1F408", "cat"), concept("1F415", "dog")]
ROWS = [{"hexcode": c["hexcode"], "source": s.id, "style": s.word} for c in CONCEPTS for s in SOURCES]
TABLE = caption_table(ROWS, CONCEPTS)
NAMES = Names.of(TABLE, np.repeat([0, 1], len(SOURCES)), np.tile(np.arange(len(SOURCES)), 2))


def named(text: str) -> list[int]:
    return NAMES.values[TABLE.texts.index(text)].tolist()


def test_a_caption_names_its_concept_its_style_and_white_where_it_says_no_background() -> None:
    white = [name for name, _ in COLOURS].index("white")
    assert named(f"dog, {SOURCES[2].word}") == [1, 2, white]
    assert NAMES.counts == (2, len(SOURCES), len(COLOURS))


def test_a_caption_that_fits_several_styles_names_none() -> None:
    assert named("cat")[:2] == [0, UNNAMED]


def test_a_background_is_named_as_it_is_said() -> None:
    place, colour = next((i, c) for i, c in enumerate(TABLE.colour) if c >= 0)
    assert NAMES.values[place, 2] == colour
    assert COLOURS[colour][0] in TABLE.texts[place] or TABLE.language[place] != "en"


def ids() -> torch.Tensor:
    return torch.tensor([[BOS, 1, EOS, EOS, EOS], [BOS, 2, 3, EOS, EOS]])


def tables(width: int = 64) -> list[torch.Tensor]:
    return [codes(n, width, k) for k, n in enumerate((30, 7, 13))]


def test_states_that_say_nothing_cost_the_entropy_of_all_names() -> None:
    loss, _ = naming_loss(torch.zeros(2, 5, 64), ids(), EOS, torch.zeros(2, 3, dtype=torch.long), tables())
    assert loss.item() == pytest.approx(math.log(30) + math.log(7) + math.log(13), rel=1e-6)


def test_a_name_that_is_not_said_costs_nothing() -> None:
    names = torch.tensor([[0, UNNAMED, UNNAMED], [0, UNNAMED, UNNAMED]])
    loss, _ = naming_loss(torch.zeros(2, 5, 64), ids(), EOS, names, tables())
    assert loss.item() == pytest.approx(math.log(30), rel=1e-6)


def test_the_sum_of_three_codes_says_all_three_names_and_only_from_the_end_of_the_text_on() -> None:
    names, spread = torch.tensor([[4, 1, 2], [17, 6, 12]]), tables(256)
    states = torch.stack([sum(table[n] for table, n in zip(spread, row, strict=True)) for row in names])[:, None].repeat(1, 5, 1)
    states[0, :2] = states[1, :3] = 1e6  # before the end nothing is asked
    loss, right = naming_loss(40 * states, ids(), EOS, names, spread)
    assert loss.item() < 1e-3 and right == pytest.approx(1)


def test_every_text_counts_alike_however_many_positions_are_asked() -> None:
    states = torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(0))
    names = torch.tensor([[4, 1, 2], [17, 6, 12]])
    each = [naming_loss(states[i : i + 1], ids()[i : i + 1], EOS, names[i : i + 1], tables())[0] for i in (0, 1)]
    both, _ = naming_loss(states, ids(), EOS, names, tables())
    torch.testing.assert_close(both, (each[0] + each[1]) / 2)


def test_codes_are_unit_vectors_far_from_each_other_and_the_same_for_a_seed() -> None:
    table = codes(600, 256, 1)
    torch.testing.assert_close(table.norm(dim=1), torch.ones(600))
    assert (table @ table.T - torch.eye(600)).abs().max() < 0.4
    assert torch.equal(table, codes(600, 256, 1)) and not torch.equal(table, codes(600, 256, 2))


def test_trimming_keeps_so_many_columns_behind_the_longest_text() -> None:
    long = torch.tensor([[BOS, 1, EOS, EOS, EOS, EOS, EOS]])
    assert trim(long, EOS).shape[1] == 3 and trim(long, EOS, 2).shape[1] == 5
