"""Live trainings: what cannot be undercut is not, what is learnt comes nearer to the exact answer, and what dropping is for."""

from __future__ import annotations

import math
import time

import pytest
import torch

from core.assumptions.approximation import Nets
from core.assumptions.line import over_runs
from core.clock import Clock
from core.errors import UserError
from core.extras import Origin, TrainingSet
from core.live import pictures, points
from core.metrics import binomial
from core.schedules import make

LINEAR, COSINE = make("linear"), make("cosine")
EVER = Clock(math.inf)  # a busy machine must not end a training that a test waits for
RING = [(52, 31), (31, 52), (10, 31), (31, 10)]


# ------------------------------------------------------------------------------------------------- points


@pytest.fixture(scope="module")
def course() -> list[points.Learnt]:
    return list(points.learnt(points.mixture(RING), LINEAR, 32, 600, EVER))


def test_the_field_of_one_point_is_its_gaussians() -> None:
    data, at = points.mixture([(40, 20)]), LINEAR.at_nsr(0.5)
    found = points.field(data, at, points.exact(data))
    away = found.x - at.alpha * data.means[0]
    formula = at.sigma * away / (at.alpha**2 * points.SPREAD**2 + at.sigma**2)
    assert torch.allclose(found.exact, formula, atol=1e-12) and found.agreement.value == pytest.approx(1)
    assert found.error.value == pytest.approx(0, abs=1e-12)


def test_no_network_undercuts_the_exact_answer_and_training_approaches_it(course: list[points.Learnt]) -> None:
    gaps = [one.loss.value - one.least.value for one in course]
    assert min(gaps) > 0 and gaps[-1] < 0.5 * gaps[0]
    assert course[-1].error.value < 0.5 * course[0].error.value and course[-1].error.low <= course[-1].error.value


def test_the_loss_is_the_least_possible_and_the_distance_from_the_exact_answer(course: list[points.Learnt]) -> None:
    at = LINEAR.at_nsr(0.3)
    exam = points.Exam.of(points.mixture(RING), at, 80_000, 0)
    said = exam.asked(course[-1].nets.denoiser(0))
    apart = float((said - exam.exact).square().mean())
    assert exam.losses(said).mean() == pytest.approx(exam.losses(exam.exact).mean() + apart, abs=0.01)


def test_the_learnt_field_agrees_with_the_exact_one_better_than_an_untrained_one(course: list[points.Learnt]) -> None:
    data, untrained = points.mixture(RING), Nets.new(1, 32, torch.Generator().manual_seed(0))
    last = untrained.weights[-2]
    with torch.no_grad():
        last.copy_(torch.randn(last.shape, generator=torch.Generator().manual_seed(1)))  # else it says 0 everywhere
    for nsr in points.FIELDS:
        before, after = (points.field(data, LINEAR.at_nsr(nsr), nets.denoiser(0)) for nets in (untrained, course[-1].nets))
        assert after.agreement.value > before.agreement.value and after.error.value < before.error.value


def test_a_perfect_network_makes_the_drawn_points_and_one_that_says_nothing_does_not() -> None:
    data = points.mixture(RING)
    silent = Nets.new(1, 8, torch.Generator().manual_seed(0)).denoiser(0)
    assert points.samples(data, LINEAR, points.exact(data)).on.value > 0.97
    assert points.samples(data, LINEAR, silent).on.value < 0.2


@pytest.mark.parametrize("cells", [[], [(64, 0)], [(0, -1)], [(0, 0)] * 257])
def test_drawings_that_cannot_be_are_refused_in_a_sentence(cells: list[tuple[int, int]]) -> None:
    with pytest.raises(UserError, match="point"):
        points.mixture(cells)


# ------------------------------------------------------------------------------------------------- pictures


def training_set() -> TrainingSet:
    """Two names with two pictures each: one corner or the other is bright, and shades of it."""
    x = torch.full((4, 4, 8, 8), -0.8)
    x[:2, :, :4, :4], x[2:, :, 4:, 4:] = 1.2, 1.2
    x[1::2] *= 0.7
    labels = ["red apple", "red apple", "rocket", "rocket"]
    return TrainingSet(x, tuple(Origin("", label, "", "", "", "", "", "", "") for label in labels))


@pytest.fixture(scope="module")
def few() -> pictures.Few:
    return pictures.Few.of(training_set(), " Red  apple,rocket, ")


@pytest.fixture(scope="module")
def learnt(few: pictures.Few) -> list[pictures.Learnt]:
    return [now for now in pictures.learnt(few, COSINE, 90, 0.2, EVER, 45) if now is not None]


def test_folding_changes_neither_pictures_nor_distances(few: pictures.Few) -> None:
    whole = training_set().latents
    assert few.latents.shape == (4, 16, 4, 4) and torch.equal(few.unfolded(few.latents), whole)
    folded, flat = (x.flatten(1) for x in (few.latents, whole))
    assert torch.allclose(torch.cdist(folded, folded), torch.cdist(flat, flat))


def test_names_are_read_as_written_and_unknown_ones_refused(few: pictures.Few) -> None:
    assert few.names == ("red apple", "rocket") and few.labels.tolist() == [0, 0, 1, 1] and few.rows == (0, 1, 2, 3)
    for text, words in (("red apple", "1 names"), ("red apple, qzxv", "called “qzxv”"), ("", "0 names"), ("a,b,c,d,e", "5 names")):
        with pytest.raises(UserError, match=words):
            pictures.Few.of(training_set(), text)


def test_both_networks_learn_their_captions_and_neither_undercuts_the_perfect_denoiser(learnt: list[pictures.Learnt]) -> None:
    assert [now.step for now in learnt] == [3, 10, 45, 90]
    first, last = learnt[0], learnt[-1]
    for before, after in zip(first.marks, last.marks, strict=True):
        assert last.least.value < after.loss.value < before.loss.low


def test_with_dropped_captions_the_empty_prompt_gives_the_marginal(few: pictures.Few, learnt: list[pictures.Learnt]) -> None:
    never, sometimes = (marks.lost.value for marks in learnt[-1].marks)
    assert sometimes < 0.95 * never
    at = COSINE.at(700)
    x = at.alpha * few.latents + at.sigma * torch.randn(few.latents.shape, generator=torch.Generator().manual_seed(3))
    empty = learnt[-1].models[1](x, at, (few.told(torch.full((4,), few.empty)),))[0].eps
    exact = [few.perfect(x, at, (cond,))[0].eps for cond in (None, 0, 1)]
    marginal, apple, rocket = (float((empty - one).square().mean()) for one in exact)
    assert marginal < 0.7 * min(apple, rocket)


def test_captions_ask_for_their_pictures_and_without_dropping_the_empty_prompt_is_worse(
    few: pictures.Few, learnt: list[pictures.Learnt]
) -> None:
    made = pictures.made(few, learnt[-1].models[1], 0.0, (1, 2, 3, 4))
    assert made.right(few).value > 0.9 and made.z.shape == (8, 16, 4, 4)
    assert torch.equal(few.nearest(few.latents)[0], torch.arange(4)) and float(few.nearest(few.latents)[1].max()) < 1e-3
    wide = [float(pictures.made(few, model, 6.0, (1, 2)).distance.mean()) for model in learnt[-1].models]
    assert wide[1] < wide[0]


def test_a_slow_machine_ends_early_with_what_it_has(few: pictures.Few) -> None:
    (only,) = list(pictures.learnt(few, COSINE, 100, 0.2, Clock(0)))
    assert only is not None and only.step == 1
    (first,) = list(points.learnt(points.mixture(RING), LINEAR, 8, 600, Clock(0)))
    assert first.step == 1 and first.loss.value > first.least.value


def test_the_clock_stands_still_while_others_have_their_turn(few: pictures.Few) -> None:
    clock = Clock(math.inf)
    running = pictures.learnt(few, COSINE, 2, 0.2, clock)
    next(running)
    before = clock.spent
    time.sleep(0.2)
    assert clock.spent == before > 0
    next(running)
    assert clock.spent > before


def test_training_a_few_pictures_leaves_everybody_else_s_random_numbers_alone(
    few: pictures.Few, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.random.get_rng_state()
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("a CUDA device was seeded"))
    next(pictures.learnt(few, COSINE, 1, 0.2, EVER))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_distances_and_hits_of_samples_have_intervals(few: pictures.Few) -> None:
    asked, far = torch.tensor([0, 1, 0, 1, 0, 1]), torch.tensor([1.0, 3.0, 2.0, 4.0, 3.0, 5.0])
    made = pictures.Made(torch.zeros(6, 16, 4, 4), asked, torch.tensor([0, 2, 1, 3, 0, 0]), far)
    assert made.far(few) == pytest.approx(over_runs([2.0, 3.0, 4.0])) and made.right(few) == binomial(5, 6)
