"""CLIP's two trainings: how batches are drawn, what a moved picture keeps, and a text tower that stays as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from core.nets.clip import Clip
from core.nets.configs import TextConfig, VisionConfig
from core.training.contrastive import ClipTask, EyesTask, Pairs, moved
from core.training.languages import COLOURS
from core.training.loop import RunConfig, Trainer
from core.training.packages import SOURCES
from tests.training.test_loop import CPU
from tests.training.test_naming import BOS, EOS, TABLE

TEXT = TextConfig(vocab=10, width=64, layers=1, heads=2, mlp=64, length=6, projection=64, bos=BOS, eos=EOS, pad=EOS)
VISION = VisionConfig(size=16, patch=4, width=64, layers=1, heads=2, mlp=64, projection=64)
RUN = RunConfig(steps=3, batch=4, lr=1e-2, warmup=1, muon=True)
STYLES = len(SOURCES)


class Squares:
    """Pictures of one grey each, on whatever colour is asked for."""

    def rgb(self, numbers: np.ndarray, colours: np.ndarray, flips: np.ndarray) -> Tensor:
        self.asked = numbers, colours, flips
        return torch.from_numpy(numbers / 50 - 1).float()[:, None, None, None].expand(-1, 3, 32, 32)


def encode(texts: list[str]) -> Tensor:
    """Tokens that differ from text to text as far as they can."""
    return torch.tensor([[BOS, sum(text.encode()) % 7, len(text) % 7, EOS, EOS, EOS] for text in texts])


@pytest.fixture
def pairs() -> Pairs:
    rows = 2 * STYLES
    return Pairs(Squares(), np.arange(rows), np.repeat([0, 1], STYLES), np.tile(np.arange(STYLES), 2),  # type: ignore[arg-type]
                 np.zeros(rows, bool), TABLE.tokenised(encode))  # fmt: skip


def test_a_batch_is_two_styles_of_each_of_its_concepts_under_their_own_captions(pairs: Pairs) -> None:
    texts, x = pairs.draw(4, np.random.default_rng(0))
    rows, colours, _ = pairs.pictures.asked  # type: ignore[attr-defined]
    assert sorted(pairs.concept[rows]) == [0, 0, 1, 1] and len(set(rows)) == 4 and x.shape == (4, 3, 32, 32)
    for row, text, colour in zip(rows, texts, colours, strict=True):
        assert pairs.captions.texts[text] in pairs.captions.of(row) and pairs.captions.colour[text] == colour


def test_a_concept_with_one_picture_is_left_out(pairs: Pairs) -> None:
    few = Pairs(pairs.pictures, pairs.picture, np.array([7, *pairs.concept[1:]]), pairs.style, pairs.flip, pairs.captions)
    assert [len(rows) for rows in few.by_concept] == [STYLES - 1, STYLES]


def test_a_moved_picture_is_the_same_where_nothing_moves_and_keeps_an_even_colour(pairs: Pairs) -> None:
    x = torch.rand(5, 3, 16, 16)
    assert torch.allclose(moved(x, torch.Generator(), most=0.0), x, atol=1e-5)
    even = torch.full((5, 3, 16, 16), 0.3)
    assert torch.allclose(moved(even, torch.Generator()), even)
    assert (moved(x, torch.Generator()) - x).abs().mean() > 0.02


@pytest.mark.parametrize("most", [0.05, 0.1])
def test_a_picture_moves_by_no_more_than_the_share_of_its_side_that_is_allowed(most: float) -> None:
    side = 64
    dot = torch.zeros(200, 1, side, side)
    dot[:, :, side // 2, side // 2] = 1
    grown = torch.nn.functional.avg_pool2d(dot, 5, 1, 2)
    out = moved(grown, torch.Generator().manual_seed(1), most)
    places = (torch.arange(side) + 0.5)[None] - side / 2
    centres = (out.sum((1, 2)) * places).sum(1) / out.sum((1, 2, 3))
    # A shift in the picture's own units is divided by its scale.
    assert most * side * 0.6 < float(centres.abs().max()) <= most * side / (1 - most) + 1


def test_the_eyes_learn_and_the_text_tower_stays(pairs: Pairs, tmp_path: Path) -> None:
    torch.manual_seed(0)
    clip = Clip(TEXT, VISION)
    before = {name: value.clone() for name, value in clip.state_dict().items()}
    trainer = Trainer(EyesTask(clip, RUN, pairs), tmp_path, CPU)
    for _ in range(3):
        trainer.advance()
    changed = {name for name, value in clip.state_dict().items() if not torch.equal(value, before[name])}
    assert not [name for name in changed if name.startswith("text_model")]
    learnt = {name for name, _ in clip.named_parameters() if not name.startswith("text_model")}
    assert learnt - changed <= {"vision_model.pre_layrnorm.bias"}
    trainer.save()
    assert Trainer(EyesTask(Clip(TEXT, VISION), RUN, pairs), tmp_path, CPU).step == 3


def test_clip_learns_both_towers_and_names(pairs: Pairs, tmp_path: Path) -> None:
    trainer = Trainer(ClipTask(TEXT, VISION, RUN, pairs, unpictured=6), tmp_path, CPU)
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    state = trainer.advance()
    assert set(state.terms) == {"right", "named", "scale"} and 0 <= state.terms["named"] <= 1
    moving = {name for name, value in trainer.network.state_dict().items() if not torch.equal(value, before[name])}
    assert {"text_model.embeddings.token_embedding.weight", "visual_projection.weight", "text_projection.weight"} <= moving


def test_the_colours_of_backgrounds_are_those_that_the_captions_name(pairs: Pairs) -> None:
    seen = set()
    for seed in range(60):
        texts, _ = pairs.draw(4, np.random.default_rng(seed))
        for text in texts:
            colour = int(pairs.captions.colour[text])
            seen.add(colour)
            words = pairs.captions.texts[text]
            if colour >= 0 and pairs.captions.language[text] == "en":
                assert COLOURS[colour][0] in words
    assert len(seen) > 3
