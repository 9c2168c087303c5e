"""Accuracy against the scale: both kinds of guidance meet where they must, and shares are what both judges say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from core import Recipe, load_pipeline
from core.adherence import diversity
from core.evaluation.steering import CLASSIFIER, FREE, KINDS, Steered, Witness, gamma_of, recipe_at, steered, witness
from core.guidance import classifier_free, classifier_guided
from core.metrics import Interval, binomial
from core.pipeline import TextToImage
from core.prediction import unconditional
from core.schedules import make
from core.toy import ring
from tests.core.test_evaluation import returned
from tests.core.tiny import write_tiny


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> TextToImage:
    folder = write_tiny(tmp_path_factory.mktemp("steering") / "tiny")
    lines = [json.loads(line) for line in (folder / "provenance.jsonl").read_text(encoding="utf-8").splitlines()]
    classes = {"red cat": "animal-mammal", "blue apple": "food-fruit"}
    told = [json.dumps(line | {"subgroup": classes[line["label"]]}) for line in lines]
    (folder / "provenance.jsonl").write_text("\n".join(told), encoding="utf-8")
    return load_pipeline(folder, device="cpu")


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.5])
def test_with_an_exact_classifier_both_kinds_are_one_at_the_same_scale(scale: float) -> None:
    mixture, at = ring(), make("linear").at(300)
    x = torch.randn(20, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    free = classifier_free(mixture, 1, None, gamma_of(FREE, scale))(x, at).eps
    pushed = classifier_guided(
        unconditional(mixture), lambda y, level: mixture.log_posterior(y, level, 1), gamma_of(CLASSIFIER, scale)
    )(x, at).eps
    torch.testing.assert_close(free, pushed, rtol=1e-9, atol=1e-9)


def test_at_scale_0_both_kinds_are_the_model_without_words(pipe: TextToImage) -> None:
    free, label = Recipe(prompt="red cat", steps=3, batch=2, sampler="ddim"), pipe.extras.judge.find("food-fruit")
    ends = [[*pipe.run(recipe_at(free, label, kind, 0))][-1].x_next for kind in KINDS]
    assert torch.equal(*ends)
    more = [[*pipe.run(recipe_at(free, label, kind, 3))][-1].x_next for kind in KINDS]
    assert not torch.equal(*more)


@pytest.mark.parametrize("name", ["food-fruit", "food-drink"])
def test_accuracy_is_the_share_of_pictures_in_which_the_class_comes_first(pipe: TextToImage, name: str) -> None:
    judge, z = pipe.extras.judge, torch.randn(12, 4, 16, 16, generator=torch.Generator().manual_seed(2))
    label = judge.find(name)
    found = steered(pipe, label, FREE, 2, z, 7)
    with torch.no_grad():
        logits = getattr(judge.network(z, pipe.schedule.at(0).t), label.head)
    wanted = [int(row.argmax()) == label.number for row in logits]
    assert list(found.right) == wanted
    assert 0 < sum(wanted) < 12 or label.head == "coarse"  # both occur, or this would say nothing
    assert found.accuracy == binomial(sum(wanted), 12) and found.nfe == 7 and found.seen_accuracy is None
    seen = pipe.extras.eyes.of_pictures(pipe.decode(z))
    assert found.diversity == pytest.approx(diversity(seen[None].numpy()), rel=1e-4)


def test_the_witness_says_the_class_of_the_name_whose_words_are_nearest(pipe: TextToImage) -> None:
    by = returned(witness(pipe))
    assert by is not None and set(by.classes) == {"animal-mammal", "food-fruit"}
    eyes = pipe.extras.eyes
    words = eyes.of_words(["blue apple", "red cat"])
    assert by.says(words) == ["food-fruit", "animal-mammal"]  # a picture that points where the words point
    z = torch.randn(6, 4, 16, 16, generator=torch.Generator().manual_seed(3))
    label = pipe.extras.judge.find("food-fruit")
    nearer = (eyes.of_pictures(pipe.decode(z)) @ words.T).argmax(1) == 0
    assert steered(pipe, label, FREE, 2, z, 7, by).seen_right == tuple(nearer.tolist())
    unknown = pipe.extras.judge.find("animal-bug")  # of which no name was trained: nothing is said, rather than "never"
    assert steered(pipe, unknown, FREE, 2, z, 7, by).seen_right is None


def test_a_model_that_cannot_see_has_no_witness(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "tiny")
    (folder / "clip" / "model.safetensors").unlink()
    blind = load_pipeline(folder, device="cpu")
    assert returned(witness(blind)) is None
    z = torch.randn(3, 4, 16, 16)
    found = steered(blind, blind.extras.judge.find("food-fruit"), CLASSIFIER, 1, z, 3)
    assert found.diversity == pytest.approx(diversity(z.flatten(1)[None].numpy()), rel=1e-4)


def test_an_interval_of_few_pictures_is_wide_and_stays_between_0_and_1() -> None:
    all_right = Steered(FREE, 4, 2, (True,) * 4, (True, False, False, False), Interval(0.1, 0.0, 0.2))
    assert all_right.accuracy.value == 1 and all_right.accuracy.high == 1 and 0.3 < all_right.accuracy.low < 0.6
    assert all_right.seen_accuracy is not None and all_right.seen_accuracy.value == 0.25


def test_a_witness_of_known_directions_chooses_by_the_angle() -> None:
    by = Witness(torch.eye(3), ("a", "b", "a"))
    assert by.says(torch.tensor([[0.1, 0.9, 0.0], [0.2, 0.1, 0.7]])) == ["b", "a"]
