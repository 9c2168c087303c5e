"""What each part of the model is asked for, held to answers whose loss is known in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.nets.classifier import Logits
from core.nets.configs import ClassifierConfig, UNetConfig, VAEConfig
from core.nets.vae import Posterior
from core.schedules import SCHEDULES, Schedule
from core.training.autoencoder import VAELoss, VAETask
from core.training.captions import CaptionTable
from core.training.classification import ClassifierTask
from core.training.denoising import Latents, UNetTask, times
from core.training.loop import RunConfig, Task
from tests.training.test_team import TOKENS, text_encoder

RUN = RunConfig(steps=1, batch=12, lr=1e-3)


def cost(task: Task) -> float:
    return float(task.loss(np.random.default_rng(1), torch.Generator().manual_seed(1))[0])


# --- the U-Net --------------------------------------------------------------------------------------------------------


class Answer(nn.Module):
    """A network that answers by a function of (x, t, context)."""

    def __init__(self, answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        return self.answer(x, t, context)


def unet_task(answer: Callable[[Tensor, Tensor, Tensor], Tensor], drop: float = 0.3) -> UNetTask:
    """Latents that are 0.5 everywhere; row 0 has the caption 0 alone, row 1 the caption 1; the empty text is row 2 of TOKENS."""
    table = CaptionTable(
        texts=("one", "two"), colour=np.array([-1, -1]), language=("en", "en"), ids=np.array([0, 1]),
        blocks=np.array([[0, *[1] * 12], [1, *[2] * 12]]), cumulative=np.array([1.0, 2.0]), tokens=TOKENS.int(),
    )  # fmt: skip
    latents = Latents(torch.full((2, 4, 8, 8), 0.5).half(), np.array([1, 0]), np.array([-1, -1]))
    config = UNetConfig(channels=(16, 32), attends=(False, True), heads=(2, 2), layers=1, context_dim=16, groups=8, sample_size=8)
    task = UNetTask(config, RUN, SCHEDULES["cosine"](), latents, table, text_encoder(), drop)
    task.network = Answer(answer)  # type: ignore[assignment]
    return task


def noise_scales(t: Tensor) -> tuple[Tensor, Tensor]:
    alpha_bar = torch.from_numpy(SCHEDULES["cosine"]().alpha_bar)[t][:, None, None, None]
    return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()


def true_v(x: Tensor, t: Tensor, context: Tensor) -> Tensor:
    """With x0 = c everywhere, alpha·x − c = sigma·(alpha·eps − sigma·c)."""
    alpha, sigma = noise_scales(t)
    return (alpha * x - 0.5) / sigma


def true_eps(x: Tensor, t: Tensor, context: Tensor) -> Tensor:
    alpha, sigma = noise_scales(t)
    return (x - alpha * 0.5) / sigma


def test_the_unet_is_asked_for_v_and_for_nothing_else() -> None:
    assert cost(unet_task(true_v)) < 1e-6
    assert cost(unet_task(true_eps)) > 0.1


@pytest.mark.parametrize("drop", [0.0, 1.0])
def test_the_unet_hears_the_caption_of_its_own_picture_or_when_dropped_the_empty_one(drop: float) -> None:
    heard: list[Tensor] = []

    def answer(x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        heard.append(context)
        return true_v(x, t, context)

    task = unet_task(answer, drop)
    cost(task)
    latents = np.random.default_rng(1).integers(2, size=RUN.batch)  # the first thing that a loss draws
    said = np.full(RUN.batch, 2) if drop else np.array([1, 0])[latents]
    assert drop or len(set(said)) == 2
    with torch.no_grad():
        torch.testing.assert_close(heard[0], text_encoder()(TOKENS).states[torch.from_numpy(said)], atol=2e-3, rtol=0)


def test_without_a_cap_every_t_is_as_likely_as_any_other() -> None:
    alpha_bar = SCHEDULES["cosine"]().alpha_bar
    assert (times(alpha_bar, (np.arange(1000) + 0.5) / 1000, math.inf) == np.arange(1000)).all()


def test_the_same_mistake_in_x0_counts_alike_at_every_t_whose_snr_is_above_the_cap_and_by_snr_plus_one_below() -> None:
    alpha_bar = SCHEDULES["cosine"]().alpha_bar
    snr = alpha_bar / (1 - alpha_bar)
    drawn = np.bincount(times(alpha_bar, (np.arange(10**7) + 0.5) / 10**7, 5.0), minlength=1000)
    counts = (drawn * (snr + 1))[snr < 1000]  # ‖v error‖² = (SNR + 1)·‖x0 error‖²; beyond, too few are drawn to count
    high = counts[snr[snr < 1000] >= 5]
    assert len(high) > 200 and high.std() < 0.01 * high.mean()
    low = counts[snr[snr < 1000] < 5] / (snr[snr < 5] + 1)
    assert low.std() < 0.01 * low.mean() and low.mean() == pytest.approx(high.mean() / 6, rel=0.01)


# --- the classifier ---------------------------------------------------------------------------------------------------

ROWS, COARSE, FINE = 10, 3, 7


class Judge(nn.Module):
    """Reads off a latent the row that it is of, and says with all its might what the labels say of that row, or nothing."""

    def __init__(self, labels: Tensor, might: float) -> None:
        super().__init__()
        self.labels, self.might = labels, might

    def forward(self, x: Tensor, t: Tensor) -> Logits:
        coarse, fine = self.labels[:, x.mean((1, 2, 3)).round().long()]
        return Logits(self.might * nn.functional.one_hot(coarse, COARSE), self.might * nn.functional.one_hot(fine, FINE))


def classifier_task(might: float) -> ClassifierTask:
    """Latents of nearly no noise that hold the number of their row everywhere, in another order than the rows."""
    order = np.array([7, 2, 9, 0, 4, 1, 8, 3, 6, 5, 2, 7])
    values = torch.from_numpy(order).half()[:, None, None, None].expand(-1, 4, 8, 8)
    labels = torch.tensor([[row % COARSE for row in range(ROWS)], [row * 3 % FINE for row in range(ROWS)]])
    config = ClassifierConfig(channels=(8,), classes=("",) * COARSE, subclasses=("",) * FINE)
    quiet = Schedule("quiet", np.full(10, 1e-6))
    task = ClassifierTask(config, RUN, quiet, Latents(values, order, np.full(len(order), -1)), labels)
    task.network = Judge(labels, might)  # type: ignore[assignment]
    return task


def test_a_classifier_that_says_nothing_costs_the_logarithms_of_both_numbers_of_classes() -> None:
    assert cost(classifier_task(0.0)) == pytest.approx(math.log(COARSE) + math.log(FINE), rel=1e-5)


def test_a_classifier_that_names_the_labels_of_the_latents_rows_costs_nothing() -> None:
    assert cost(classifier_task(50.0)) < 1e-6


# --- the VAE ----------------------------------------------------------------------------------------------------------

LOGVAR = -60.0  # a posterior so narrow that what is drawn from it is its mean


class Mirror(nn.Module):
    """An autoencoder whose latents are the pictures, and whose pictures are those and a mistake."""

    def __init__(self, mistake: Tensor) -> None:
        super().__init__()
        self.mistake = mistake

    def encode(self, x: Tensor) -> Posterior:
        return Posterior(x, torch.full_like(x, LOGVAR))

    def decode(self, z: Tensor) -> Tensor:
        return z + self.mistake


def vae_task(mistake: Tensor) -> VAETask:
    """Pictures that are white all over, so that x = 1 and KL/dims = ½(1 + e^LOGVAR − 1 − LOGVAR)."""
    white = np.full((3, 32, 32, 4), 255, np.uint8)
    config = VAEConfig(channels=(8, 16), layers=1, groups=8, mid_attention=False)
    task = VAETask(config, RUN, VAELoss(edges=0.5, coarse=0.25, kl=1e-2, crop=16), white, np.arange(3))
    task.network = Mirror(mistake)  # type: ignore[assignment]
    return task


CHECKS = 0.2 * (-1.0) ** torch.arange(16)  # columns by turns lighter and darker: gone from every mean over 4 × 4


@pytest.mark.parametrize(
    ("mistake", "costs"),
    [(torch.zeros(16), 0.0), (torch.full((16,), 0.2), 0.2 + 0.25 * 0.2), (CHECKS, 0.2 + 0.5 * 0.4)],
    ids=["none", "all lighter", "stripes"],
)
def test_the_vae_pays_for_pixels_edges_and_means_of_squares_and_for_the_divergence(mistake: Tensor, costs: float) -> None:
    divergence = 0.5 * (1 + math.exp(LOGVAR) - 1 - LOGVAR)
    assert cost(vae_task(mistake)) == pytest.approx(costs + 1e-2 * divergence, rel=1e-5)
