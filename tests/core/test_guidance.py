"""Guidance on exact models: identities to the bit, closed forms, and gradients against finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from core import SAMPLERS, SCHEDULES
from core.guidance import classifier_free, classifier_guided, inpaint, interval, rescaled
from core.noise import Noise
from core.prediction import Prediction, unconditional
from core.sampling import sample
from core.schedules import Level, make_path, zero_terminal_snr
from core.toy import GaussianMixture, ring, two_moons

SCHEDULE = SCHEDULES["scaled_linear"]()
LEVELS = [SCHEDULE.at(t) for t in (0, 200, 700, 999)]
MIXTURE = two_moons()
F64 = {"dtype": torch.float64}


def points(n: int = 20, d: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), **F64)


class Asked:
    """A model that keeps which conditions each call asked for."""

    def __init__(self, model) -> None:
        self.model, self.calls = model, []

    def __call__(self, x, at, conds):
        self.calls.append(tuple(conds))
        return self.model(x, at, conds)


# --------------------------------------------------------------------------------------------------- classifier-free


@pytest.mark.parametrize("at", LEVELS)
def test_gamma_minus_1_is_the_unconditional_model_and_0_the_conditional_to_the_bit(at: Level) -> None:
    x = points()
    for gamma, cond in ((-1, None), (0, 1), (-1.0, None), (0.0, 1)):
        asked = Asked(MIXTURE)
        p = classifier_free(asked, 1, None, gamma)(x, at)
        (exact,) = MIXTURE(x, at, (cond,))
        assert torch.equal(p.x0, exact.x0) and torch.equal(p.eps, exact.eps)
        assert asked.calls == [(cond,)] and len(p.parts) == 1  # and at half the cost


@pytest.mark.parametrize("gamma", [-0.5, 0.3, 1.0, 6.5])
@pytest.mark.parametrize("at", LEVELS)
def test_both_predictions_are_weighed_by_w_and_1_minus_w_where_w_is_1_plus_gamma(at: Level, gamma: float) -> None:
    x, w, asked = points(), 1 + gamma, Asked(MIXTURE)
    p = classifier_free(asked, 1, None, gamma)(x, at)
    assert asked.calls == [(1, None)]  # one call for both
    for name in ("eps", "x0", "v", "score"):
        cond, empty = getattr(p.parts["cond"], name), getattr(p.parts["uncond"], name)
        torch.testing.assert_close(getattr(p, name), empty + w * (cond - empty), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(at.alpha * p.x0 + at.sigma * p.eps, x, rtol=1e-9, atol=1e-9)


def test_a_negative_prompt_takes_the_place_of_the_empty_one() -> None:
    x, at = points(), LEVELS[1]
    (a, b), p = ring()(x, at, (1, 4)), classifier_free(ring(), 1, 4, 2.0)(x, at)
    torch.testing.assert_close(p.eps, 3 * a.eps - 2 * b.eps)


def test_every_image_of_a_batch_may_have_its_own_gamma() -> None:
    x, at = points(4), LEVELS[2]
    scales = [-1.0, 0.0, 2.0, 7.5]
    together = classifier_free(MIXTURE, 1, None, torch.tensor(scales, **F64)[:, None])(x, at)
    for i, gamma in enumerate(scales):
        alone = classifier_free(MIXTURE, 1, None, gamma)(x[i : i + 1], at)
        torch.testing.assert_close(together.x0[i : i + 1], alone.x0)
        torch.testing.assert_close(together.eps[i : i + 1], alone.eps)


# --------------------------------------------------------------------------------------------------------- classifier


@pytest.mark.parametrize("gamma", [-1.0, 0.0, 1.0, 4.0])
@pytest.mark.parametrize("at", LEVELS)
def test_with_an_exact_classifier_its_guidance_at_1_plus_gamma_is_classifier_free_at_gamma(
    at: Level, gamma: float
) -> None:
    """∇ log p(y | x) = ∇ log p(x | y) − ∇ log p(x): Bayes' rule makes the two guidances one."""
    x = points()
    plain = unconditional(MIXTURE)
    guided = classifier_guided(plain, lambda x, at: MIXTURE.log_posterior(x, at, 1), 1 + gamma)(x, at)
    free = classifier_free(MIXTURE, 1, None, gamma)(x, at)
    torch.testing.assert_close(guided.eps, free.eps, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(guided.x0, free.x0, rtol=1e-7, atol=1e-7)


def test_the_gradient_is_the_one_that_finite_differences_find_and_is_each_images_own() -> None:
    x, at, gamma, h = points(6), LEVELS[1], 2.5, 1e-5

    def log_prob(x: Tensor, at: Level) -> Tensor:
        return MIXTURE.log_posterior(x, at, 0)

    plain = unconditional(MIXTURE)
    p, guided = plain(x, at), classifier_guided(plain, log_prob, gamma)(x, at)
    for d in range(2):
        e = h * torch.eye(2, **F64)[d]
        slope = (log_prob(x + e, at) - log_prob(x - e, at)) / (2 * h)
        torch.testing.assert_close((p.eps - guided.eps)[:, d] / (at.sigma * gamma), slope, rtol=1e-6, atol=1e-6)


def test_a_guided_run_of_a_classifier_needs_no_gradient_mode_from_outside_and_counts_the_network_once() -> None:
    denoise = classifier_guided(unconditional(MIXTURE), lambda x, at: MIXTURE.log_posterior(x, at, 1), 1.0)
    *_, step = sample(denoise, make_path(SCHEDULE, "trailing", 20), "dpmpp_2m", lambda draw: points(60, seed=draw))
    assert step.nfe == 20 and not step.x_next.requires_grad
    assert MIXTURE.log_posterior(step.x_next, SCHEDULE.at(0), 1).exp().mean() > 0.95


def test_pure_noise_says_nothing_of_the_label_so_a_classifier_does_not_guide_there() -> None:
    noise = zero_terminal_snr(SCHEDULE).at(999)
    x, plain = points(), unconditional(MIXTURE)
    guided = classifier_guided(plain, lambda x, at: MIXTURE.log_posterior(x, at, 1), 3.0)(x, noise)
    assert torch.equal(guided.x0, plain(x, noise).x0) and guided.x0.isfinite().all()


# ---------------------------------------------------------------------------------------------- interval and rescale


def test_outside_its_interval_of_noise_guidance_is_off_and_both_ends_belong_to_it() -> None:
    guided, plain = classifier_free(MIXTURE, 1, None, 3), classifier_free(MIXTURE, 1, None, 0)
    low, high = SCHEDULE.at(300), SCHEDULE.at(600)
    denoise, x = interval(guided, plain, low.nsr, high.nsr), points()
    for t in (0, 299, 300, 450, 600, 601, 999):
        at = SCHEDULE.at(t)
        wanted = guided if 300 <= t <= 600 else plain
        assert torch.equal(denoise(x, at).eps, wanted(x, at).eps)
        assert len(denoise(x, at).parts) == (2 if 300 <= t <= 600 else 1)


def images() -> tuple[GaussianMixture, Tensor]:
    """A mixture over vectors of 48 numbers, so that an image has a standard deviation."""
    generator = torch.Generator().manual_seed(1)
    means = torch.randn(3, 48, generator=generator, **F64)
    return GaussianMixture.of(means, 0.5), torch.randn(4, 48, generator=generator, **F64)


@pytest.mark.parametrize("predicts", ["eps", "v", "x0"])
@pytest.mark.parametrize("share", [0.3, 0.7, 1.0])
def test_rescaling_gives_the_networks_own_output_the_spread_of_the_conditional_one_to_a_share(share: float, predicts: str) -> None:
    mixture, x = images()
    at = LEVELS[2]
    p = classifier_free(mixture, 1, None, 6)(x, at)
    ours = rescaled(classifier_free(mixture, 1, None, 6), share, predicts)(x, at)
    y, cond, guided = (getattr(one, predicts) for one in (ours, p.parts["cond"], p))
    wanted = share * cond.std(1) + (1 - share) * guided.std(1)
    torch.testing.assert_close(y.std(1), wanted)
    torch.testing.assert_close(y / guided, (wanted / guided.std(1))[:, None].expand(4, 48))  # each image one factor
    torch.testing.assert_close(at.alpha * ours.x0 + at.sigma * ours.eps, x)
    assert ours.parts.keys() == p.parts.keys()


@pytest.mark.parametrize("predicts", ["eps", "v"])
@pytest.mark.parametrize("at", LEVELS[1:])
def test_rescaling_is_that_of_diffusers_pipelines(at: Level, predicts: str) -> None:
    peer = pytest.importorskip("diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion").rescale_noise_cfg
    mixture, x = images()
    guided = classifier_free(mixture, 1, None, 6)
    p, ours = guided(x, at), rescaled(guided, 0.7, predicts)(x, at)
    theirs = peer(getattr(p, predicts), getattr(p.parts["cond"], predicts), guidance_rescale=0.7)
    torch.testing.assert_close(getattr(ours, predicts), theirs)
    assert (ours.x0 - p.x0).abs().max() > 1e-3


def test_rescaling_by_nothing_or_what_is_not_guided_changes_nothing() -> None:
    mixture, x = images()
    for gamma, share in ((6, 0.0), (0, 0.7), (-1, 0.7)):
        denoise = classifier_free(mixture, 1, None, gamma)
        assert torch.equal(rescaled(denoise, share, "v")(x, LEVELS[2]).x0, denoise(x, LEVELS[2]).x0)


# ----------------------------------------------------------------------------------------------------------- inpaint


def painted(name: str, dtype: torch.dtype, mask: Tensor, **knobs: float) -> tuple[Tensor, Tensor, list[Tensor]]:
    """What a run makes of a known picture under a mask; also what the denoiser was shown."""
    noise = Noise([3, 4], (2, 4, 4), dtype=dtype)
    known = Noise([7, 8], (2, 4, 4), dtype=dtype)(0)
    path = make_path(SCHEDULE, "trailing", 8)
    shown: list[Tensor] = []

    def denoise(x: Tensor, at: Level) -> Prediction:
        shown.append(x)
        return Prediction.from_x0(x, 0.9 * torch.tanh(x.roll(1, -1)), at)

    first = path.levels[0]
    start = first.alpha * known + first.sigma * noise(0)
    *_, step = sample(inpaint(denoise, known, mask.to(dtype), noise(0)), path, name, noise, start, **knobs)
    return step.x_next, known, shown


MASK = torch.zeros(1, 1, 4, 4)
MASK[..., 2:] = 1
# The last move of these hands out x0 itself; Heun and LMS arrive there by a sum of slopes.
HAND_OUT_X0 = {"ddpm", "ddim", "euler", "euler_ancestral", "dpm_solver_2", "dpm_solver_3", "dpmpp_2m", "dpmpp_2m_sde",
               "uni_pc"}  # fmt: skip


@pytest.mark.parametrize("name", SAMPLERS)
def test_what_is_known_stands_unchanged_at_a_clean_end_and_the_rest_is_painted(name: str) -> None:
    made, known, _ = painted(name, torch.float64, MASK)
    torch.testing.assert_close(made[..., :2], known[..., :2], rtol=1e-11, atol=1e-11)
    assert (made[..., 2:] - known[..., 2:]).abs().mean() > 0.1
    made, known, _ = painted(name, torch.float32, MASK)
    torch.testing.assert_close(made[..., :2], known[..., :2], rtol=1e-4, atol=1e-5)
    if name in HAND_OUT_X0:
        assert torch.equal(made[..., :2], known[..., :2])


def test_under_a_mask_the_network_sees_the_known_part_with_the_noise_of_its_level() -> None:
    _, known, shown = painted("euler_ancestral", torch.float64, MASK)
    noise = Noise([3, 4], (2, 4, 4), dtype=torch.float64)(0)
    for x, at in zip(shown, make_path(SCHEDULE, "trailing", 8).levels, strict=False):
        torch.testing.assert_close(x[..., :2], (at.alpha * known + at.sigma * noise)[..., :2])


def test_a_mask_of_ones_is_no_inpainting_and_one_of_zeros_gives_the_picture_back() -> None:
    at, x, known = LEVELS[2], points(2, 3), points(2, 3, seed=1)

    def denoise(x: Tensor, at: Level) -> Prediction:
        return Prediction.from_x0(x, torch.tanh(x), at)

    everything = inpaint(denoise, known, torch.ones(1, 3, **F64), points(2, 3, seed=2))(x, at)
    torch.testing.assert_close(everything.x0, denoise(x, at).x0)
    torch.testing.assert_close(everything.eps, denoise(x, at).eps)
    nothing = inpaint(denoise, known, torch.zeros(1, 3, **F64), points(2, 3, seed=2))(x, at)
    assert torch.equal(nothing.x0, known)
    torch.testing.assert_close(at.alpha * nothing.x0 + at.sigma * nothing.eps, x)


def test_a_half_mask_mixes_the_predicted_and_the_known_picture() -> None:
    at, x, known, noise = LEVELS[2], points(2, 3), points(2, 3, seed=1), points(2, 3, seed=2)

    def denoise(x: Tensor, at: Level) -> Prediction:
        return Prediction.from_x0(x, torch.tanh(x), at)

    seen = 0.25 * x + 0.75 * (at.alpha * known + at.sigma * noise)
    p = inpaint(denoise, known, torch.full((1, 3), 0.25, **F64), noise)(x, at)
    torch.testing.assert_close(p.x0, 0.25 * torch.tanh(seen) + 0.75 * known)


def test_guidance_and_inpainting_compose_and_the_calls_are_still_counted() -> None:
    mixture, x = images()
    known, mask = torch.zeros(4, 48, **F64), torch.ones(1, 48, **F64)
    mask[:, :24] = 0
    denoise = inpaint(rescaled(classifier_free(mixture, 1, None, 3), 0.5, "eps"), known, mask, x)
    *_, step = sample(denoise, make_path(SCHEDULE, "trailing", 5), "dpmpp_2m", lambda draw: x)
    assert step.nfe == 10 and torch.equal(step.x_next[:, :24], known[:, :24])
