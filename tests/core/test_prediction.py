"""What a network says, in any of its three forms, is one and the same prediction; and what NetworkModel asks of it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from core import SAMPLERS, SCHEDULES
from core.errors import UserError
from core.prediction import Cond, NetworkModel, Prediction, unconditional
from core.sampling import sample
from core.schedules import CLEAN, Level, Schedule, make, make_path, zero_terminal_snr
from core.toy import ring

SCHEDULE = SCHEDULES["scaled_linear"]()
LEVELS = [SCHEDULE.at(t) for t in (0, 1, 250.5, 999)]


def noisy(at: Level) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    x0, eps = torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=generator)
    return x0, eps, at.alpha * x0 + at.sigma * eps


@pytest.mark.parametrize("at", LEVELS)
def test_eps_v_and_x0_say_the_same(at: Level) -> None:
    x0, eps, x = noisy(at)
    v = at.alpha * eps - at.sigma * x0
    for p in (Prediction.from_eps(x, eps, at), Prediction.from_v(x, v, at), Prediction.from_x0(x, x0, at)):
        torch.testing.assert_close(p.x0, x0, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(p.eps, eps, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(p.v, v, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(p.score, -eps / at.sigma, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(at.alpha * p.x0 + at.sigma * p.eps, x, rtol=1e-12, atol=1e-12)


def test_v_and_x0_are_finite_in_pure_noise_where_eps_is_refused() -> None:
    noise = Level(999.0, 0.0, 1.0)
    x0, eps, x = noisy(noise)
    v = Prediction.from_v(x, -x0, noise)
    assert torch.equal(v.x0, x0) and torch.equal(v.eps, eps)
    assert torch.equal(Prediction.from_x0(x, x0, noise).eps, x)
    with pytest.raises(UserError, match="zero terminal SNR"):
        Prediction.from_eps(x, eps, noise)


def test_at_the_clean_level_nothing_is_noise() -> None:
    x = torch.randn(2, 3)
    p = Prediction.from_x0(x, x, CLEAN)
    assert torch.equal(p.x0, x) and (p.eps == 0).all() and p.score.isnan().all()  # 0/0: no density to climb


# --------------------------------------------------------------------------------------------------------- networks


class Exact(nn.Module):
    """A network that knows the ring of eight and says it as eps, v or x0; its condition is a label in a context."""

    def __init__(self, predicts: str, schedule: Schedule) -> None:
        super().__init__()
        self.predicts, self.schedule = predicts, schedule
        self.told: list[Tensor] = []
        self.mixture = ring()

    def forward(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        self.told.append(t)
        at = self.schedule.at(round(t[0].item(), 3))
        answers = self.mixture(x, at, [int(one.flatten()[0]) for one in context])
        return torch.stack([getattr(p, self.predicts) for p in answers])


def label(k: int) -> Cond:
    return Cond(torch.full((1, 1, 1), float(k), dtype=torch.float64))


@pytest.mark.parametrize("predicts", ["eps", "v", "x0"])
def test_whatever_a_network_predicts_the_model_is_the_same(predicts: str) -> None:
    network = Exact(predicts, SCHEDULE)
    model = NetworkModel(network, SCHEDULE, predicts)
    x = torch.randn(6, 2, dtype=torch.float64)
    for at in LEVELS:
        for ours, exact in zip(model(x, at, (label(2), label(5))), ring()(x, at, (2, 5)), strict=True):
            torch.testing.assert_close(ours.x0, exact.x0, rtol=1e-8, atol=1e-8)
            torch.testing.assert_close(ours.eps, exact.eps, rtol=1e-8, atol=1e-8)


def test_all_conditions_are_asked_in_one_call_at_the_time_of_the_level() -> None:
    network = Exact("v", SCHEDULE)
    x = torch.randn(6, 2, dtype=torch.float64)
    for t in (0, 17, 640, 999):
        NetworkModel(network, SCHEDULE, "v")(x, SCHEDULE.at(t), (label(1), label(2), label(3)))
        assert network.told.pop().tolist() == [t] * 6 and not network.told


def test_on_another_schedule_a_network_is_told_its_own_time_for_that_much_noise() -> None:
    network, other = Exact("eps", SCHEDULE), SCHEDULES["linear"]()
    x = torch.randn(6, 2, dtype=torch.float64)
    at = other.at(600)
    (p,) = NetworkModel(network, SCHEDULE, "eps")(x, at, (label(1),))
    assert SCHEDULE.at(network.told[0][0].item()).nsr == pytest.approx(at.nsr, rel=1e-5)
    torch.testing.assert_close(p.x0, ring()(x, at, (1,))[0].x0, rtol=1e-3, atol=1e-3)


def test_a_network_in_half_precision_is_fed_and_heard_in_half_and_the_rest_stays_whole() -> None:
    class Echo(nn.Module):
        def forward(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
            assert (x.dtype, t.dtype, context.dtype) == (torch.bfloat16, torch.float32, torch.bfloat16)
            return x[None].expand(len(context), *x.shape)

    x, at = torch.randn(2, 4), SCHEDULE.at(500)
    (p,) = NetworkModel(Echo(), SCHEDULE, "v")(x, at, (Cond(torch.zeros(1, 1, 1, dtype=torch.bfloat16)),))
    assert p.x0.dtype == p.eps.dtype == torch.float32
    torch.testing.assert_close(at.alpha * p.x0 + at.sigma * p.eps, x)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_no_sampler_may_ask_for_eps_in_pure_noise_and_every_one_may_ask_for_v(name: str, sampler: str) -> None:
    schedule = zero_terminal_snr(make(name, 1000, 0.00085, 0.012))
    path = make_path(schedule, "trailing", 5)

    def noise(draw: int) -> Tensor:
        return torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(draw))

    denoise = unconditional(NetworkModel(Exact("v", schedule), schedule, "v"), label(3))
    *_, step = sample(denoise, path, sampler, noise)
    assert step.x_next.isfinite().all()
    refused = unconditional(NetworkModel(Exact("eps", schedule), schedule, "eps"), label(3))
    with pytest.raises(UserError, match="predicts v"):
        next(sample(refused, path, sampler, noise))
    leading = make_path(schedule, "leading", 5)  # never sees the last level
    assert next(sample(refused, leading, sampler, noise)).x_next.isfinite().all()
