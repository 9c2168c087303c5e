"""The loss against t on a model of random weights: by hand, and where captions say nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from core import load_pipeline
from core.evaluation import losses
from core.evaluation.losses import loss_curve, spreads
from core.noise import Noise
from core.pipeline import TextToImage
from core.prediction import READ
from tests.core.tiny import write_tiny


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> TextToImage:
    return load_pipeline(write_tiny(Path(tmp_path_factory.mktemp("tiny"))), device="cpu")


@torch.no_grad()
def test_the_loss_under_captions_is_the_mean_square_of_what_the_network_misses_of_the_noise(pipe: TextToImage) -> None:
    (found,) = loss_curve(pipe, 12, (400,))
    latents, origins = pipe.extras.training.latents, pipe.extras.training.origins
    at, eps = pipe.schedule.at(400), Noise(range(12), (4, 16, 16))(0)
    x = at.alpha * latents + at.sigma * eps
    context = pipe.text_states([f"{one.label}, {one.style}" for one in origins])
    said = READ[pipe.parts.prediction](x, pipe.unet(x, torch.full((12,), float(at.t)), context), at).eps
    assert found.t == 400 and found.captioned.value == pytest.approx(float((said - eps).square().mean()), rel=1e-4)
    assert found.captioned.low < found.captioned.value < found.captioned.high


def test_captions_that_say_nothing_are_worth_nothing(pipe: TextToImage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "caption", lambda origin: "")
    for one in loss_curve(pipe, 4, (100, 800)):
        assert one.captioned == one.bare and one.worth == (0, 0, 0)


def test_more_pictures_than_there_are_means_all_of_them_once(pipe: TextToImage) -> None:
    assert list(loss_curve(pipe, 99, (300,))) == list(loss_curve(pipe, 12, (300,)))


def test_the_spread_of_each_channel_is_its_standard_deviation(pipe: TextToImage) -> None:
    z = pipe.extras.training.latents.float().numpy()
    assert spreads(pipe) == pytest.approx([np.std(z[:, c], ddof=1) for c in range(4)], rel=1e-4)
