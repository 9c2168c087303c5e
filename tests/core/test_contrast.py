"""CLIP's comparison: both forms of the loss, classification by names, and a tiny CLIP that begins at 2 ln N and learns."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from core import contrast, load_pipeline
from core.contrast import Lesson, forms
from core.errors import UserError
from core.nets.clip import contrastive_loss, summed_contrastive_loss
from core.pipeline import TextToImage
from tests.core.tiny import write_tiny


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> TextToImage:
    return load_pipeline(write_tiny(tmp_path_factory.mktemp("tiny")), device="cpu")


def cosines(n: int, seed: int = 0) -> Tensor:
    random = torch.randn(2, n, 32, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    image, text = torch.nn.functional.normalize(random, dim=-1)
    return image @ text.T


# ------------------------------------------------------------------------------------------------- the loss


@pytest.mark.parametrize("tau", [0.01, 0.07, 1.0])
def test_both_forms_are_those_that_training_uses(tau: float) -> None:
    s = cosines(9)
    told = forms(s, tau)
    assert told.mean == pytest.approx(float(contrastive_loss(s / tau)), rel=1e-12)
    assert told.total == pytest.approx(float(summed_contrastive_loss(s / tau)), rel=1e-12)


def test_where_all_look_alike_the_forms_are_ln_n_and_twice_that() -> None:
    told = forms(torch.full((7, 7), 0.3), 0.07)
    assert told.rows == told.columns == pytest.approx(math.log(7)) and told.total == pytest.approx(2 * math.log(7))


def test_rows_and_columns_are_exchanged_with_pictures_and_captions() -> None:
    there, back = forms(cosines(6), 0.1), forms(cosines(6).T, 0.1)
    assert (there.rows, there.columns) == pytest.approx((back.columns, back.rows)) and there.rows != there.columns


def test_a_high_temperature_forgets_and_a_low_one_decides() -> None:
    s = 0.5 * torch.eye(5)
    assert forms(s, 1e4).rows == pytest.approx(math.log(5), rel=1e-3) and forms(s, 1e-3).rows == pytest.approx(0, abs=1e-9)


# ------------------------------------------------------------------------------------------------- by names


def test_names_share_all_of_the_probability_by_the_softmax_of_their_cosines() -> None:
    picture, words = torch.tensor([1.0, 0.0]), torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.6, 0.8]])
    guesses = contrast.zero_shot(picture, words, ["no", "yes", "some"], 0.2)
    assert [guess.name for guess in guesses] == ["yes", "some", "no"] and sum(g.probability for g in guesses) == pytest.approx(1)
    assert guesses[0].probability / guesses[1].probability == pytest.approx(math.exp((1 - 0.6) / 0.2))


def test_pairs_are_of_different_concepts_and_repeat_by_their_seed(pipe: TextToImage) -> None:
    found = contrast.pairs(pipe, 5, 3)
    labels = [pipe.extras.training.origins[row].label for row in found.rows]
    assert len(labels) == len(set(labels)) == 2  # this model has two
    assert found == contrast.pairs(pipe, 5, 3) and found.captions[0].startswith(labels[0] + ", ")


# ------------------------------------------------------------------------------------------------- a tiny CLIP


def colours(concepts: int = 40, each: int = 3) -> Lesson:
    """Pictures of one colour each, and captions that name it: what any CLIP can learn at once."""
    rng = np.random.default_rng(0)
    shades = np.stack(np.meshgrid(*[[-1, -0.3, 0.3, 1]] * 3), -1).reshape(-1, 3)[rng.permutation(64)[:concepts]]
    concept = np.repeat(np.arange(concepts), each)
    pictures = torch.tensor(shades[concept], dtype=torch.float32)[:, :, None, None].expand(-1, -1, 16, 16)
    captions = tuple(f"shade{c}, {style}" for c in range(concepts) for style in ("flat", "3d", "line")[:each])
    ids, words = contrast.spelled(captions)
    return Lesson(pictures, ids, concept, np.arange(0, each * 32, each), captions, words)


@pytest.mark.parametrize("seed", range(3))
def test_before_anything_is_learnt_the_loss_is_2_ln_n(seed: int) -> None:
    (first,) = contrast.taught(colours(), seed, steps=0)
    assert first.size == 32 and first.losses[0][1] == pytest.approx(2 * math.log(32), rel=0.01)


@pytest.mark.parametrize("seed", range(5))
def test_before_anything_is_learnt_held_out_pictures_find_their_caption_by_chance(seed: int) -> None:
    data = colours()
    (first,) = contrast.taught(data, seed, steps=0)
    assert torch.equal(first.cosines, contrast.examined(contrast.tiny(data.words, seed), data)[0])
    ((_, share),) = first.right
    assert share.low <= 1 / 32 <= share.high


def test_no_batch_has_a_held_out_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    data, batches, learnt = colours(), list[np.ndarray](), contrast.learnt
    monkeypatch.setattr(contrast, "learnt", lambda *given: batches.append(given[-1]) or learnt(*given))
    list(contrast.taught(data, steps=60))
    seen = set(np.concatenate(batches).tolist())
    assert all(len(set(data.concept[rows])) == 32 for rows in batches)
    assert seen == set(range(len(data.captions))) - set(data.held.tolist())  # and every other is learnt from
    assert not {data.captions[row] for row in data.held} & {data.captions[row] for row in seen}


def test_it_learns_to_match_pictures_that_it_never_saw() -> None:
    *_, last = contrast.taught(colours(), steps=150)
    assert last.losses[-1][1] < 0.7 * last.losses[0][1] and last.right[-1][1].low > 4 / 32 and last.right[0][1].value <= 4 / 32
    assert last.right[-1][1].value == contrast.matches(last.cosines) / len(last.cosines)
    assert last.step == 150 and len(last.losses) == 151


def test_it_stops_at_its_seconds_and_when_its_reader_does() -> None:
    assert [course.step for course in contrast.taught(colours(), seconds=0)] == [0]
    running = contrast.taught(colours())
    next(running)
    running.close()
    with pytest.raises(StopIteration):
        next(running)


def test_the_turns_of_others_do_not_count_as_its_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def ticking() -> float:
        now[0] += 0.001
        return now[0]

    monkeypatch.setattr("core.clock.time", SimpleNamespace(perf_counter=ticking))
    courses = []
    for course in contrast.taught(colours(), steps=10, seconds=1):
        courses.append(course)
        now[0] += 60  # somebody else's turn
    assert courses[-1].step == 10 and courses[-1].seconds < 1


def test_training_leaves_everybody_else_s_random_numbers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("a CUDA device was seeded"))
    list(contrast.taught(colours(), steps=1))
    assert torch.equal(torch.rand(3), expected)


def test_the_same_seed_gives_the_same_course() -> None:
    one, other = ([course.losses for course in contrast.taught(colours(), 5, steps=3)][-1] for _ in range(2))
    assert one == other


def test_held_out_pictures_are_not_learnt_from_and_their_names_are(pipe: TextToImage) -> None:
    data = contrast.lesson(pipe)
    learnt = np.concatenate(data.learnt)
    assert not set(learnt) & set(data.held) and sorted(data.concept[data.held]) == sorted(set(data.concept[learnt]))
    assert not {data.captions[row] for row in data.held} & {data.captions[row] for row in learnt}
    assert np.array_equal(data.held, contrast.lesson(pipe).held)
    assert len({tuple(contrast.lesson(pipe, seed).held) for seed in range(5)}) > 1
    assert data.pictures.shape == (12, 3, 16, 16) and data.pictures.abs().max() <= 1
    assert len(list(contrast.taught(data, steps=2))) == 2  # a batch smaller than the usual


def test_captions_become_numbers_of_their_words_closed_by_nought() -> None:
    ids, words = contrast.spelled(["red apple, flat", "Red cat", "x " * 40])
    assert ids[0, :4].tolist() == [1, 2, 3, 0] and ids[1, :3].tolist() == [1, 4, 0] and words == 6
    assert ids[2].tolist() == [5] * 11 + [0]


@pytest.mark.slow
def test_on_the_pictures_that_ship_it_finds_several_times_as_many_captions_as_chance() -> None:
    *_, last = contrast.taught(contrast.lesson(load_pipeline(device="cpu")), steps=400, seconds=math.inf)
    assert len(last.cosines) == contrast.CONCEPTS and last.right[-1][1].low > 2 / contrast.CONCEPTS


def test_too_few_pictures_are_refused(pipe: TextToImage, monkeypatch: pytest.MonkeyPatch) -> None:
    training = pipe.extras.training
    one = type(training)(training.latents[:2], training.origins[:2])
    monkeypatch.setitem(pipe.extras.__dict__, "training", one)
    with pytest.raises(UserError, match="too few"):
        contrast.lesson(pipe)
