"""What lies beside the networks: read strictly, missed in a sentence, and right, against the same weights loaded whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from core import Recipe, load_pipeline
from core.errors import UserError
from core.extras import Extras
from core.judge import BLIND
from core.nets.clip import Clip
from core.nets.configs import TextConfig, VisionConfig
from core.pipeline import TextToImage
from core.recipe import Guidance
from tests.core.tiny import COUNT, SUBGROUPS, write_tiny

SMALL = Recipe(prompt="animal-bug", steps=3, sampler="ddim", gamma=3, seed=2, batch=2, guidance=Guidance(kind="classifier"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def pipe(folder: Path) -> TextToImage:
    return load_pipeline(folder, device="cpu")


def test_pictures_and_words_are_embedded_as_by_the_whole_clip(pipe: TextToImage, folder: Path) -> None:
    eyes = pipe.extras.eyes
    text, vision = (json.loads((folder / part / "config.json").read_text()) for part in ("text_encoder", "clip"))
    whole = Clip(TextConfig.from_json(text), VisionConfig.from_json(vision))
    weights = load_file(folder / "text_encoder" / "model.safetensors") | load_file(folder / "clip" / "model.safetensors")
    whole.load_state_dict({name: value.float() for name, value in weights.items()})
    x = torch.rand(3, 3, 32, 32) * 2 - 1
    texts = ["a red cat", "an apple"]
    logits = whole(F.avg_pool2d(x, 2), pipe.tokenizer.encode(texts)) / whole.logit_scale.exp()
    torch.testing.assert_close(eyes.of_pictures(x) @ eyes.of_words(texts).T, logits, rtol=1e-4, atol=1e-5)
    assert eyes.clip.text_model is pipe.text_encoder.text_model  # not held twice


def test_a_class_is_found_by_its_name_however_written_and_the_nearest_are_offered(pipe: TextToImage) -> None:
    judge = pipe.extras.judge
    assert judge.find("Animal Bug") == ("animal-bug", "fine", 1) and judge.find("food-drink").head == "coarse"
    assert [label.name for label in judge.labels if label.head == "fine"] == list(SUBGROUPS)
    with pytest.raises(UserError, match=r"'animal bugs' is no class .*: take animal-bug"):
        judge.find("animal bugs")


def test_the_judges_probabilities_sum_to_one_over_each_head(pipe: TextToImage) -> None:
    judge, at = pipe.extras.judge, pipe.schedule.at(300)
    x = torch.randn(1, 4, 16, 16)
    for head in ("coarse", "fine"):
        labels = [label for label in judge.labels if label.head == head]
        total = judge.log_prob(x.expand(len(labels), -1, -1, -1), at, labels).exp().sum()
        assert float(total) == pytest.approx(1, abs=1e-5)


def test_classifier_guidance_follows_the_formula_and_its_gradient_that_of_finite_differences(pipe: TextToImage) -> None:
    (_, step, *_) = pipe.run(SMALL)
    judge, call = pipe.extras.judge, step.evaluations[0]
    labels = [judge.find("animal-bug")] * 2
    gradient = judge.gradient(step.x, step.cur, labels)
    plain = call.parts["uncond"].eps
    torch.testing.assert_close(call.eps, plain - step.cur.sigma * SMALL.gamma * gradient, rtol=1e-4, atol=1e-5)
    way = torch.randn_like(step.x)
    up, down = (judge.log_prob(step.x + h * way, step.cur, labels) for h in (1e-2, -1e-2))
    torch.testing.assert_close((up - down) / 2e-2, (gradient * way).sum((1, 2, 3)), rtol=2e-2, atol=1e-4)
    assert step.nfe == 2 and float(gradient.abs().max()) > 1e-4


def test_where_almost_all_is_noise_the_classifier_is_not_followed(pipe: TextToImage) -> None:
    (first, *_) = pipe.run(SMALL)
    assert first.cur.nsr > BLIND and not first.evaluations[0].parts
    torch.testing.assert_close(first.evaluations[0].eps, next(pipe.run(SMALL.replace(gamma=0))).eps)


def test_under_a_classifier_gamma_0_is_the_unconditional_model_whatever_the_class(pipe: TextToImage) -> None:
    *_, zero = pipe.run(SMALL.replace(gamma=0))
    *_, none = pipe.run(Recipe(prompt="x", steps=3, sampler="ddim", gamma=-1, seed=2, batch=2))
    assert torch.equal(zero.x_next, none.x_next)


def test_recipes_of_several_classes_and_scales_run_as_one_batch(pipe: TextToImage) -> None:
    one = SMALL.replace(batch=1)
    recipes = [one, one.replace(prompt="food fruit", gamma=1.0)]
    *_, together = pipe.run_many(recipes)
    for row, recipe in enumerate(recipes):
        *_, alone = pipe.run(recipe)
        torch.testing.assert_close(together.x_next[row : row + 1], alone.x_next, rtol=1e-4, atol=1e-4)


def test_the_training_set_knows_whose_picture_each_latent_is(pipe: TextToImage) -> None:
    training = pipe.extras.training
    assert training.latents.shape == (COUNT, 4, 16, 16) and training.latents.dtype == torch.float32
    assert (training.origins[3].label, training.origins[3].style, training.origins[3].licence) == ("blue apple", "minimal", "MIT")


def test_what_a_model_lacks_is_said_in_a_sentence_and_raised_by_whatever_needs_it(folder: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(folder, tmp_path / "bare", ignore=shutil.ignore_patterns("clip", "classifier", "latents*"))
    pipe = load_pipeline(bare, device="cpu")
    for what, name in (("clip", "eyes"), ("classifier", "judge"), ("latents", "training")):
        sentence = pipe.extras.missing(what)
        assert sentence.startswith("bare brings no ") and sentence.endswith(": load a model that was exported with it.")
        with pytest.raises(UserError) as raised:
            getattr(pipe.extras, name)
        assert str(raised.value) == sentence
    with pytest.raises(UserError, match=r"this model has no classifier: use 'classifier_free'"):
        next(pipe.run(SMALL))
    assert pipe.extras.vocabulary == {}


@pytest.mark.parametrize(
    ("file", "text", "name", "says"),
    [
        ("provenance.jsonl", '{"label": "one"}\n', "training", "1 lines for 12 latents"),
        ("provenance.jsonl", "[1]\n" * COUNT, "training", "no list of origins"),
        ("provenance.jsonl", "{", "training", "no list of origins"),
        ("classifier/config.json", '{"classes": [], "subclasses": ["a"]}', "judge", "lists no classes"),
        ("classifier/config.json", '{"classes": ["a"], "subclasses": ["b"], "layers_per_block": 1000000}', "judge", "layers"),
        ("clip/config.json", '{"num_hidden_layers": 1000000}', "eyes", "num_hidden_layers"),
        ("clip/config.json", "{}", "eyes", "no such network|CLIP"),
    ],
)
def test_a_damaged_extra_is_refused_in_a_sentence(
    folder: Path, tmp_path: Path, file: str, text: str, name: str, says: str
) -> None:
    broken = shutil.copytree(folder, tmp_path / "broken")
    (broken / file).write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=says):
        getattr(load_pipeline(broken, device="cpu").extras, name)


# ------------------------------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("written", "found"),
    [('{"prompts": ["a cat", "a dog"]}', ("a cat", "a dog")), ('{"prompts": "a cat"}', ()), ("{}", ()), (None, ())],
)
def test_examples_are_what_the_model_brings(tmp_path: Path, written: str | None, found: tuple[str, ...]) -> None:
    if written is not None:
        (tmp_path / "examples.json").write_text(written, encoding="utf-8")
    assert Extras(tmp_path, "m", *[None] * 5).examples == found  # type: ignore[arg-type]


def write_vocabulary(folder: Path, words: str | None) -> None:
    names = {"concepts": [{"label": "red apple"}], "styles": [{"word": "flat"}], "colours": ["blue"]}
    (folder / "vocabulary.json").write_text(json.dumps(names), encoding="utf-8")
    if words is not None:
        (folder / "words.txt").write_text(words, encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "complete", "unseen"),
    [
        ("a an apple background blue emoji flat gato of on red style un", True, ["zebra"]),
        ("a an background blue emoji flat gato of on red style un", False, ["un", "gato", "zebra"]),  # of other weights: no apple
        (None, False, ["un", "gato", "zebra"]),
    ],
)
def test_a_word_was_never_seen_if_no_caption_has_it(tmp_path: Path, words: str | None, complete: bool, unseen: list) -> None:
    write_vocabulary(write_tiny(tmp_path / "model"), words)
    lexicon = load_pipeline(tmp_path / "model", device="cpu").extras.lexicon
    assert lexicon.complete is complete
    assert lexicon.unseen("Un GATO, flat: a Red apple; zebra zebra 3 !") == unseen


def test_of_a_model_without_a_list_nothing_is_said(tmp_path: Path) -> None:
    lexicon = load_pipeline(write_tiny(tmp_path / "model"), device="cpu").extras.lexicon
    assert not lexicon.complete and lexicon.unseen("a zebra") == []


def test_a_link_out_of_the_models_folder_is_followed_for_no_extra(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "model")
    (tmp_path / "elsewhere").write_bytes(b"")
    for name in ("reference.npz", "latents.safetensors", "clip/model.safetensors", "classifier/model.safetensors"):
        (copy / name).unlink(missing_ok=True)
        (copy / name).symlink_to(tmp_path / "elsewhere")
    extras = load_pipeline(copy, device="cpu").extras
    for what in ("reference", "training", "eyes", "judge"):
        with pytest.raises(UserError, match="is a link out of the model's folder"):
            getattr(extras, what)
