"""Evaluate with the weights of Inception-v3 that an operator gave: whose numbers they are, what they are called, what is hidden."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import numpy as np
import pytest

from core import load_pipeline
from core.checkpoints.inception import load_inception
from core.evaluation import bias
from core.evaluation.critics import Critic, floats_of
from core.evaluation.damage import Damage
from core.evaluation.settings import SEEDS, Quality, Setting
from core.metrics import METRICS, Interval, frechet_distance, inception_score
from studio.figures import evaluate as figures
from studio.service.engine import Engine
from studio.tabs.labs import evaluate
from studio.work import evaluate as evaluate_work
from studio.work.evaluate import Room
from tests.core.inception import write_inception
from tests.core.tiny import GROUPS, write_tiny
from tests.studio.fakes import shown

NAMES = {"frechet_distance": "FID (Inception-v3)", "inception_score": "Inception score (Inception-v3)",
         "kernel_distance": "KID (Inception-v3)", "clip_score": "CLIP score", "precision": "Precision (Inception-v3)",
         "recall": "Recall (Inception-v3)"}  # fmt: skip


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    folder = tmp_path_factory.mktemp("secret-place")
    network = load_inception(write_inception(folder / "inception.safetensors"))
    engine = Engine(load_pipeline(write_tiny(folder / "tiny"), device="cpu"), inception=network)
    yield Room(engine)
    engine.close()


def test_every_metric_is_measured_on_inceptions_features_and_classes_and_called_so(room: Room) -> None:
    seen, view = shown(evaluate_work.noticed(room, Damage("noise", 1.0), []))
    assert {one["id"]: one["label"] for one in view["changes"]} == NAMES
    assert not [event for event in seen if "the classifier looks" in event.line]  # Inception-v3 has said it already
    assert [bars["title"].split(",")[0] for bars in (*view["bars"][:2], *view["bars"][2::2])] == [
        "FID (Inception-v3) before", "FID (Inception-v3) after", "p(y|x) of the first picture", "The marginal p(y)",
        "The inception score (Inception-v3)"]  # fmt: skip
    assert all(name.startswith("class ") and name.endswith(" of 1008") for name, *_ in view["bars"][3]["bars"])
    assert "cannot fill 2048 dimensions" in view["line"] and "KID (Inception-v3)" in str(view)
    real, tested, network = room.gallery.real, room.gallery.tested, room.critic.inception
    assert network is not None
    features, classes = (part.double().numpy() for part in network(tested.pictures))
    np.testing.assert_allclose(tested.features, features, rtol=1e-3, atol=1e-4)
    values = {one["id"]: one["before"][0] for one in view["changes"]}
    assert values["frechet_distance"] == pytest.approx(frechet_distance(real.features, features, allow_few=True).value, rel=1e-3)
    assert values["inception_score"] == pytest.approx(inception_score(classes).value, rel=1e-3)


def test_words_and_groups_are_still_our_own_networks_business(room: Room) -> None:
    list(room.gallery.fill())
    tested, own = room.gallery.tested, Critic(room.engine.pipe)
    alone = own.classified(own.look(floats_of(tested.pictures), tested.words))
    np.testing.assert_allclose(tested.by_clip, alone.features, atol=1e-2)  # one rounding to 256 colours
    assert tested.coarse is not None and tested.coarse.shape[1] == len(GROUPS)
    score = METRICS["clip_score"].function
    assert float(score(tested.by_clip, tested.words)) == pytest.approx(float(score(alone.features, alone.words)), abs=0.5)
    chosen = tested.take(np.array([1, 1, 0]))
    assert np.array_equal(chosen.by_clip, tested.by_clip[[1, 1, 0]]) and chosen.fine is not None and chosen.fine.shape == (3, 1008)


def test_curves_and_tables_carry_the_names_too(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bias.curve, "__defaults__", ((1 / 2, 1), 2, 0))
    _, view = shown(evaluate_work.numbered(room))
    assert [one["title"] for one in view["charts"]] == ["FID (Inception-v3) against n", "KID (Inception-v3) against n"]
    _, view = shown(evaluate_work.swept(room, [Setting("ddim", 2, 1.0)], 2, "gamma"))
    titles = [one["title"] for one in view["charts"]]
    assert "Both: KID (Inception-v3)" in titles and "Fidelity: precision (Inception-v3)" in titles
    assert "Fidelity: CLIP score" in titles and "Diversity within a prompt" in titles
    found = room.known[Setting("ddim", 2, 1.0), 2]
    assert isinstance(found, Quality) and found.n == 2 * SEEDS and found.pictures.shape[1:] == (3, 32, 32)
    assert "KID (Inception-v3) × 1000" in figures.headline_table([], {}, {}, room.critic.metrics)["head"]


def test_the_page_says_whose_numbers_they_are_and_nothing_of_the_file(room: Room) -> None:
    with gr.Blocks() as demo:
        evaluate.page(room.engine)
    told = json.dumps(demo.get_config_file(), default=str)
    assert "FID (Inception-v3)" in told and "whose weights the operator gave" in told and "own CLIP and all classes" not in told
    assert "secret-place" not in told and "safetensors" not in told
    texts = evaluate.texts_of(room)
    assert [part for part in evaluate.PARTS if "operator" not in texts[part]] == [evaluate.METRICS_PART, evaluate.LOSS]


def test_without_the_file_no_number_is_called_after_inception(tmp_path: Path) -> None:
    engine = Engine(load_pipeline(write_tiny(tmp_path / "tiny"), device="cpu"))
    with gr.Blocks() as demo:
        evaluate.page(engine)
    told = json.dumps(demo.get_config_file(), default=str)
    assert "Inception-v3" not in told and "FID (" not in told and "no number here may stand beside a published FID" in told
    assert Critic(engine.pipe).metrics is METRICS and figures.head()[5] == "kernel distance × 1000"
    assert figures.part_bars((Interval(1, 1, 1), Interval(1, 1, 1)), "before")["title"].startswith("Frechet distance before")
    engine.close()
