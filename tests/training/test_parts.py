"""From drawings to the folder that ships: every part trained for a step on tiny pictures, exported, opened, gone back from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from core.pipeline import load_pipeline
from core.training import parts
from core.training.autoencoder import channel_statistics
from core.training.data import Pictures
from core.training.denoising import UNetTask
from core.training.export import export, restore
from core.training.loop import trained_weights
from core.training.parts import PARTS, Plan, build, encode_latents, train

RUN = {"steps": 1, "batch": 4, "lr": 1e-3}
CONFIGS = {
    "vae": {"network": {"channels": [8, 8, 8, 16], "layers": 1, "groups": 4, "mid_attention": False, "scaling_factor": 1.0,
                        "sample_size": 128}, "loss": {"crop": 32}},
    "clip": {"tier": "core", "unpictured": 4, "vocabulary": 600,
             "text": {"width": 16, "layers": 1, "heads": 2, "mlp": 32, "length": 77, "projection": 8},
             "vision": {"size": 16, "patch": 8, "width": 16, "layers": 1, "heads": 2, "mlp": 32, "projection": 8}},
    "eyes": {"tier": "all"},
    "unet": {"tier": "core", "colours": 2, "drop": 0.1, "snr_cap": 5,
             "network": {"channels": [16, 32], "attends": [False, True], "heads": [2, 2], "layers": 1, "context_dim": 16,
                         "groups": 8, "sample_size": 16}},
    "classifier": {"network": {"channels": [8, 16], "groups": 4}},
}  # fmt: skip


@pytest.fixture(scope="module")
def plan(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Every part trained for a step. A stripe is painted on the left of each picture, so that mirroring one can be seen."""
    folder = tmp_path_factory.mktemp("plan")
    data = shutil.copytree(tiny, folder / "data")
    pictures = np.load(data / "pictures.npy")
    pictures[:, :, :40] = (0, 0, 0, 255)
    np.save(data / "pictures.npy", pictures)
    for part, config in CONFIGS.items():
        (folder / "configs" / "small").mkdir(parents=True, exist_ok=True)
        (folder / "configs" / "small" / f"{part}.json").write_text(json.dumps(config | {"run": RUN}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "CONFIGS", folder / "configs")
        plan = Plan("small", data, folder / "work", torch.device("cpu"))
        for part in PARTS:
            list(train(part, plan))
            if part == "vae":
                list(encode_latents(plan))
        yield plan


def test_latents_have_mean_0_and_standard_deviation_1_a_channel_and_are_what_the_folded_vae_says(plan: Plan) -> None:
    stored, rows = load_file(plan.folder("latents") / "latents.safetensors"), plan.tier("unet").base
    mean, std = channel_statistics(stored["latents"].float())
    torch.testing.assert_close(mean, torch.zeros(4), atol=2e-3, rtol=0)
    torch.testing.assert_close(std, torch.ones(4), atol=2e-3, rtol=0)
    pictures = Pictures(plan.data).rgb(np.array(rows)[stored["row"]], stored["colour"], stored["mirrored"])
    with torch.no_grad():
        torch.testing.assert_close(plan.vae().encode(pictures).mean, stored["latents"].float(), atol=5e-3, rtol=5e-3)
    assert stored["row"][: len(rows)].tolist() == list(range(len(rows))) and not stored["mirrored"][: len(rows)].any()


def test_the_unet_learns_from_no_mirrored_picture_and_the_classifier_from_all(plan: Plan) -> None:
    stored = load_file(plan.folder("latents") / "latents.safetensors")
    unet, classifier = build("unet", plan), build("classifier", plan)
    assert isinstance(unet, UNetTask) and 0 < int(stored["mirrored"].sum()) < len(stored["mirrored"])
    assert len(classifier.latents.values) == len(stored["latents"])  # type: ignore[attr-defined]
    seen = unet.latents
    assert len(seen.values) == int((~stored["mirrored"]).sum())
    plain = Pictures(plan.data).rgb(np.array(plan.tier("unet").base)[seen.row], seen.colour)
    with torch.no_grad():
        torch.testing.assert_close(plan.vae().encode(plain).mean, seen.values.float(), atol=5e-3, rtol=5e-3)


def test_the_exported_folder_opens_as_a_pipeline_of_the_trained_weights(plan: Plan, tmp_path: Path) -> None:
    list(export(plan, tmp_path))
    pipe = load_pipeline(tmp_path, device="cpu")
    for part, network in (("unet", pipe.unet), ("vae", pipe.vae)):
        wanted = plan.vae().state_dict() if part == "vae" else trained_weights(plan.folder(part))
        for name, value in network.state_dict().items():
            torch.testing.assert_close(value, wanted[name].half().float(), rtol=0, atol=0)
    ids = plan.tokenizer.encode(["cat, flat", ""])
    assert torch.equal(pipe.tokenizer.encode(["cat, flat", ""]), ids)
    with torch.no_grad():
        torch.testing.assert_close(pipe.text_encoder(ids).states, plan.text_encoder()(ids).states, atol=1e-2, rtol=1e-2)
    shipped = load_file(tmp_path / "latents.safetensors")["latents"]
    white = Pictures(plan.data).rgb(plan.tier("unet").base)
    with torch.no_grad():
        torch.testing.assert_close(plan.vae().encode(white).mean, shipped.float(), atol=5e-3, rtol=5e-3)
    assert sorted(json.loads((tmp_path / "training.json").read_text())) == sorted(PARTS)


def test_training_goes_on_from_an_exported_folder(plan: Plan, tmp_path: Path) -> None:
    list(export(plan, tmp_path / "out"))
    again = Plan(plan.name, plan.data, tmp_path / "work", plan.device)
    list(restore(again, tmp_path / "out"))
    for part in PARTS:
        wanted, found = trained_weights(plan.folder(part)), trained_weights(again.folder(part))
        assert found.keys() == wanted.keys()
        if part not in ("vae", "clip"):  # the one is folded when it ships, and the eyes ship where the other's were
            assert all(torch.equal(found[name], wanted[name].half().float()) for name in wanted), part
