"""The trained parts as a diffusers-layout folder: what ships in assets.

Weights are stored in float16; the VAE's latent statistics are folded in before the latents are computed. Beside the weights lie
the latents of the base list with their provenance, the vocabulary, every word of the captions, and a record of how every part was
made.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.metrics import Gaussian, statistics
from core.nets.classifier import NoisyClassifier
from core.nets.clip import Clip
from core.nets.configs import UNetConfig
from core.nets.tokenizer import spelled
from core.training.art import Progress
from core.training.contrastive import shrink
from core.training.data import Pictures, attribution, vocabulary
from core.training.loop import trained_weights, write_checkpoint
from core.training.parts import PARTS, Plan, build, tuples

MODEL_INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.30.0",
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}

SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "_diffusers_version": "0.30.0",
    "num_train_timesteps": 1000,
    "beta_schedule": "squaredcos_cap_v2",
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
    "steps_offset": 0,
    "clip_sample": False,
    "set_alpha_to_one": True,
    "rescale_betas_zero_snr": False,
}

WEIGHTS = dict.fromkeys(("text_encoder", "clip", "eyes", "classifier"), "model.safetensors")
PLACES = {"eyes": "clip"}  # where a part's weights lie, if not under its own name


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_component(folder: Path, part: str, config: dict[str, Any], weights: dict[str, Tensor]) -> None:
    """One component: its config.json and its weights in float16."""
    write_json(folder / part / "config.json", config)
    half = {k: v.detach().to("cpu", torch.float16).contiguous() for k, v in weights.items()}
    save_file(half, folder / part / WEIGHTS.get(part, "diffusion_pytorch_model.safetensors"), metadata={"format": "pt"})


def write_index(folder: Path) -> None:
    """The files that make a folder a pipeline."""
    write_json(folder / "model_index.json", MODEL_INDEX)
    write_json(folder / "scheduler" / "scheduler_config.json", SCHEDULER)


def export(plan: Plan, out: Path) -> Iterator[Progress]:
    """Write everything that is trained so far into a diffusers-layout folder; parts not trained yet are left out."""
    write_index(out)
    shutil.copytree(plan.folder("tokenizer"), out / "tokenizer", dirs_exist_ok=True)
    vae = plan.vae()
    write_component(out, "vae", vae.config.to_json(), vae.state_dict())
    yield Progress("export", 1, 5)
    clip, encoder = plan.clip("eyes" if plan.trained("eyes") else "clip"), plan.text_encoder()
    write_component(out, "text_encoder", encoder.config.to_json(), encoder.state_dict())
    rest = {k: v for k, v in clip.state_dict().items() if not k.startswith("text_model.")}  # that one is text_encoder
    write_component(out, "clip", plan.vision_config().to_json(), rest)
    yield Progress("export", 2, 5)
    config = UNetConfig(**tuples(plan.config("unet")["network"]))
    write_component(out, "unet", config.to_json(), trained_weights(plan.folder("unet")))
    yield Progress("export", 3, 5)
    if plan.trained("classifier"):
        classifier = build("classifier", plan).network
        assert isinstance(classifier, NoisyClassifier)
        write_component(out, "classifier", classifier.config.to_json(), trained_weights(plan.folder("classifier")))
    yield Progress("export", 4, 5)
    latents = plan.latents().values[: len(plan.tier("unet").base)]  # the base list: one picture on white each
    save_file({"latents": latents.contiguous()}, out / "latents.safetensors")
    write_json(out / "vocabulary.json", vocabulary(plan.records, plan.tier("unet").concepts))
    write_words(out, plan.tier("unet").captions.texts)
    attribution(plan.data, out, plan.tier("unet").base)
    reference(plan, clip).save(out / "reference.npz")
    write_json(out / "training.json", {part: history(plan, part) for part in PARTS if plan.trained(part)})
    yield Progress("export", 5, 5)


@torch.no_grad()
def reference(plan: Plan, clip: Clip) -> Gaussian:
    """Mean and covariance of what the image tower says of the training pictures: what a Frechet distance is measured to."""
    pictures, base, size = Pictures(plan.data), np.array(plan.tier("unet").base), plan.vision_config().size
    parts = [base[start : start + 64] for start in range(0, len(base), 64)]
    return statistics(torch.cat([clip.embed_image(shrink(pictures.rgb(part), size).to(plan.device)).cpu() for part in parts]))


def write_words(folder: Path, captions: Iterable[str]) -> None:
    """Every word that stands in a caption, in one line: whatever is not in it the U-Net never saw with a picture."""
    words = sorted({word for caption in captions for word in spelled(caption)})
    (folder / "words.txt").write_text(" ".join(words) + "\n", encoding="utf-8")


def restore(plan: Plan, folder: Path) -> Iterator[Progress]:
    """The way back: checkpoints from a shipped folder, so that training goes on where its weights stand.

    The optimiser's moments are not shipped and begin anew. The latents are encoded again by the part `latents`.
    """
    made = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    shutil.copytree(folder / "tokenizer", plan.folder("tokenizer"), dirs_exist_ok=True)
    for done, part in enumerate(PARTS, start=1):
        if made.get(part):
            weights = shipped_weights(folder, part)
            state = {"step": made[part]["step"], "seconds": 60 * made[part]["minutes"], "curve": made[part]["curve"]}
            write_checkpoint(plan.folder(part) / f"checkpoint-{state['step']:08d}", weights, weights, {}, state)
        yield Progress("restore", done, len(PARTS))


def shipped_weights(folder: Path, part: str) -> dict[str, Tensor]:
    """The weights of one part of a shipped folder in float32, under the names that they have in training."""
    stored = load_file(folder / PLACES.get(part, part) / WEIGHTS.get(part, "diffusion_pytorch_model.safetensors"))
    if part in ("clip", "eyes"):
        stored |= load_file(folder / "text_encoder" / WEIGHTS["text_encoder"])
    return {name: value.float() for name, value in stored.items()}


def history(plan: Plan, part: str) -> dict[str, Any]:
    """How a part was made: its configuration, how far it got, how long it took, its loss curve."""
    newest = max(plan.folder(part).glob("checkpoint-*"))
    state = json.loads((newest / "state.json").read_text(encoding="utf-8"))
    kept = {"step": state["step"], "minutes": round(state["seconds"] / 60, 1), "curve": thin(state["curve"])}
    return {"plan": plan.name, "commit": commit(), "config": plan.config(part)} | kept


def thin(curve: list[Any], points: int = 60) -> list[Any]:
    """At most about so many points of a curve, the last one among them."""
    stride = max(1, len(curve) // points)
    return curve[:: -stride][::-1] if curve else []


def commit() -> str:
    """The commit of the code that made the weights, or "" outside a checkout."""
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip()
