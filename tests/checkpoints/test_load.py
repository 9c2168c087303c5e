"""Checkpoints that should load: both generations, layouts and number formats, held to diffusers and transformers."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.checkpoints.load import Components, load_checkpoint
from core.checkpoints.plan import plan_file
from core.checkpoints.read import Entry, Header
from core.errors import UserError
from core.nets.configs import CLIP_L_TEXT, OPENCLIP_H_TEXT, SD1_UNET, SD2_UNET, SD_VAE

pytest.importorskip("diffusers")
from tests.checkpoints import builders
from tests.conftest import Parity

NETWORKS = ("unet", "vae", "text_encoder")
HALVES = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])


def weights(parts: Components) -> dict[str, Tensor]:
    return {f"{part}.{name}": t for part in NETWORKS for name, t in getattr(parts, part).state_dict().items()}


def bit_equal(a: Components, b: Components) -> bool:
    one, other = weights(a), weights(b)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def farthest(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """The largest difference between two tables of weights with the same names."""
    assert a.keys() == b.keys()
    return max((a[name].float() - b[name].float()).abs().max().item() for name in a)


def relative(a: Tensor, b: Tensor) -> float:
    return ((a - b).abs().max() / b.abs().max()).item()


@torch.no_grad()
def differences(parts: Components, pipe: Any) -> dict[str, float]:
    """The largest relative difference of each network to its peer, on the same inputs."""
    torch.manual_seed(3)
    x, t, picture = torch.randn(2, 4, 8, 8), torch.tensor([10, 900]), torch.rand(1, 3, 32, 32) * 2 - 1
    texts = ["a red apple, photo!", "l'été — 42 cats"]
    ids = parts.tokenizer.encode(texts)
    peer_ids = pipe.tokenizer(texts, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
    assert torch.equal(ids, peer_ids)
    states = pipe.text_encoder(peer_ids)
    text, latent = parts.text_encoder(ids), pipe.vae.encode(picture).latent_dist
    return {
        "states": relative(text.states, states[0]),
        "pooled": relative(text.pooled, states[1]),
        "unet": relative(parts.unet(x, t, states[0]), pipe.unet(x, t, states[0]).sample),
        "encode": relative(parts.vae.encode(picture).mean, latent.mean),
        "decode": relative(parts.vae.decode(x), pipe.vae.decode(x).sample),
    }


@pytest.mark.parametrize("layout", ["folder", "single"])
def test_both_layouts_agree_with_diffusers_and_transformers(small: Any, layout: str, parity: Parity) -> None:
    name = {"folder": "folder", "single": "single file"}[layout]
    for part, found in differences(load_checkpoint(getattr(small, layout)), small.pipe).items():
        parity("checkpoint", f"{small.name}, {name}, {part}", "diffusers and transformers", found)


def test_folder_and_single_file_give_bit_equal_weights(small: Any, parity: Parity) -> None:
    folder, single = load_checkpoint(small.folder), load_checkpoint(small.single)
    parity("checkpoint", f"{small.name}, single file", "the same as a folder", farthest(weights(single), weights(folder)), 0)
    assert bit_equal(folder, single)
    assert folder.tokenizer.pad == single.tokenizer.pad and folder.prediction == single.prediction
    assert np.array_equal(folder.schedule.beta, single.schedule.beta)
    assert (folder.spacing, folder.steps_offset) == (single.spacing, single.steps_offset) == ("leading", 1)


@HALVES
def test_half_precision_is_read_exactly_in_both_layouts(small: Any, dtype: torch.dtype, tmp_path: Path) -> None:
    single = builders.write_single(small.pipe, tmp_path / "half.safetensors", dtype)
    folder = shutil.copytree(small.folder, tmp_path / "half")
    for file in folder.rglob("*.safetensors"):
        save_file({name: tensor.to(dtype) for name, tensor in load_file(file).items()}, str(file))
    rounded = {name: tensor.to(dtype).float() for name, tensor in weights(load_checkpoint(small.folder)).items()}
    for path in (single, folder):
        wide = weights(load_checkpoint(path))
        assert all(torch.equal(wide[name], rounded[name]) for name in rounded)
        narrow = weights(load_checkpoint(path, dtype=dtype))
        assert all(narrow[name].dtype == dtype and torch.equal(narrow[name].float(), rounded[name]) for name in rounded)


def test_the_builders_single_file_is_what_diffusers_reads(small: Any) -> None:
    for kind, part in (("UNet2DConditionModel", "unet"), ("AutoencoderKL", "vae")):
        peer = getattr(builders.diffusers, kind).from_single_file(
            str(small.single), config=str(small.folder), subfolder=part, local_files_only=True
        )
        own = getattr(small.pipe, part).state_dict()
        assert all(torch.equal(tensor, own[name]) for name, tensor in peer.state_dict().items())


def test_every_tensor_of_the_networks_is_used_and_every_parameter_made_once(small: Any) -> None:
    parts = load_checkpoint(small.single)
    made = sum(tensor.numel() for tensor in weights(parts).values())
    assert made == sum(p.numel() for part in NETWORKS for p in getattr(small.pipe, part).parameters())
    assert not any("left out" in note for note in parts.notes)
    assert not [p for part in NETWORKS for p in getattr(parts, part).parameters() if p.requires_grad or p.is_meta]
    places = [tensor.untyped_storage().data_ptr() for tensor in weights(parts).values()]
    assert len(set(places)) == len(places)


REAL = {1: (builders.REAL_1, SD1_UNET, CLIP_L_TEXT), 2: (builders.REAL_2, SD2_UNET, OPENCLIP_H_TEXT)}


@pytest.mark.parametrize("generation", REAL)
@pytest.mark.parametrize("trimmed", [False, True], ids=["as published", "made from a folder"])
def test_the_real_sizes_are_read_off_the_shapes_of_a_single_file(generation: int, trimmed: bool) -> None:
    """SD 2's has OpenCLIP-H's 24 layers, of which 23 are read; one that was made from a folder has no more than these."""
    sizes, unet, text = REAL[generation]
    with torch.device("meta"):
        tensors = builders.single_tensors(builders.build(sizes), extras=not trimmed)
    if trimmed:
        tensors = {name: tensor for name, tensor in tensors.items() if ".resblocks.23." not in name}
    entries = {name: Entry(Path("x"), name, "F16", tuple(tensor.shape), 0, 0) for name, tensor in tensors.items()}
    plan = plan_file(Header(Path("x.safetensors"), entries, {}), None)
    found = [draft.model.config for draft in plan.drafts]
    assert found == [unet, SD_VAE, dataclasses.replace(text, projection=found[2].projection)]
    assert plan.tokenizer.pad == {1: 49407, 2: 0}[generation]  # SD 2 pads with "!"
    assert not any("left out" in note for note in plan.notes)


def test_a_folder_that_we_write_loads_and_diffusers_opens_it_too(ours: Path) -> None:
    parts = load_checkpoint(ours)
    assert (parts.prediction, parts.spacing, parts.schedule.name) == ("v", "trailing", "cosine") and not parts.notes
    assert parts.unet.config.sample_size == 16 and parts.text_encoder.config.eos == parts.tokenizer.eos
    pipe = builders.StableDiffusionPipeline.from_pretrained(str(ours), local_files_only=True)
    assert max(differences(parts, pipe).values()) < 1e-4


@pytest.mark.parametrize("old", [True, False], ids=["matrices", "convolutions"])
def test_both_forms_of_the_vaes_attention_load_from_a_single_file(small: Any, old: bool, tmp_path: Path) -> None:
    path = builders.write_single(small.pipe, tmp_path / "x.safetensors", old_vae=old, extras=False)
    assert bit_equal(load_checkpoint(path), load_checkpoint(small.folder))


def test_the_old_names_of_the_vaes_attention_load_from_a_folder(small: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(small.folder, tmp_path / "old")
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    for new, old in {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}.items():
        tensors = {name.replace(f"attentions.0.{new}.", f"attentions.0.{old}."): t for name, t in tensors.items()}
    save_file(tensors, str(file))
    assert bit_equal(load_checkpoint(folder), load_checkpoint(small.folder))


@pytest.mark.parametrize("prefix", ["", "text_model."])
def test_text_encoders_of_transformers_4_and_5_load(small: Any, prefix: str, tmp_path: Path) -> None:
    folder = shutil.copytree(small.folder, tmp_path / "text")
    file = folder / "text_encoder" / "model.safetensors"
    tensors = {prefix + name.removeprefix("text_model."): tensor for name, tensor in load_file(file).items()}
    save_file(tensors | {f"{prefix}embeddings.position_ids": torch.arange(77)[None]}, str(file))
    parts = load_checkpoint(folder)
    assert bit_equal(parts, load_checkpoint(small.folder)) and not parts.notes


def test_special_ids_come_from_the_tokenizer_and_not_from_old_configs(small: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(small.folder, tmp_path / "old")
    config = folder / "text_encoder" / "config.json"
    old = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}  # as in Stable Diffusion 1.5
    config.write_text(json.dumps(json.loads(config.read_text()) | old))
    assert max(differences(load_checkpoint(folder), small.pipe).values()) < 1e-4


def test_fp16_variants_and_shards_load_as_the_plain_file_does(small: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(small.folder, tmp_path / "plain")
    for file in [*folder.rglob("*.safetensors")]:
        save_file({name: tensor.half() for name, tensor in load_file(file).items()}, str(file))
    variant = shutil.copytree(folder, tmp_path / "variant")
    for file in [*variant.rglob("*.safetensors")]:
        file.rename(file.with_name(file.name.replace(".safetensors", ".fp16.safetensors")))
    sharded = shutil.copytree(folder, tmp_path / "sharded")
    small.pipe.unet.save_pretrained(str(sharded / "unet"), max_shard_size="300KB")
    (sharded / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    assert len([*(sharded / "unet").glob("*.safetensors")]) > 2
    assert bit_equal(load_checkpoint(variant), load_checkpoint(folder))
    whole = load_checkpoint(small.folder).unet.state_dict()
    shards = load_checkpoint(sharded).unet.state_dict()
    assert all(torch.equal(whole[name], shards[name]) for name in whole)


def test_a_folder_in_the_hubs_cache_keeps_its_links_and_gets_the_models_name(small: Any, tmp_path: Path) -> None:
    home = tmp_path / "models--someone--tiny-sd"
    folder = shutil.copytree(small.folder, home / "snapshots" / "0123abc")
    (home / "blobs").mkdir()
    for i, file in enumerate([*folder.rglob("*.*")]):
        blob = home / "blobs" / str(i)
        file.rename(blob)
        try:
            file.symlink_to(blob)
        except OSError:
            pytest.skip("this system makes no links")
    parts = load_checkpoint(folder)
    assert parts.name == "tiny-sd" and bit_equal(parts, load_checkpoint(small.folder))


def predicts(path: Path, prediction: str | None = None) -> tuple[str, bool]:
    parts = load_checkpoint(path, prediction=prediction)
    return parts.prediction, any("assumed" in note for note in parts.notes)


def test_what_a_single_file_predicts_is_assumed_aloud(written: dict) -> None:
    assert predicts(written[1].single) == ("eps", True)
    assert predicts(written[2].single) == ("v", True)


@pytest.mark.parametrize(("name", "text", "says"), [
    ("x.yaml", "model:\n  params:\n    parameterization: \"v\"\n", "v"), ("x.yaml", "    parameterization: eps", "eps"),
    ("x.json", '{"parameterization": "v"}', "v"), ("x.json", '{"prediction_type":"epsilon"}', "eps"),
    ("x.yaml", "model:\n  target: ldm\n", None),
])  # fmt: skip
def test_a_file_beside_the_weights_says_what_they_predict(written: dict, tmp_path: Path, name: str, text: str, says: Any) -> None:
    path = shutil.copy(written[1].single, tmp_path / "x.safetensors")
    (tmp_path / name).write_text(text)
    assert predicts(Path(path)) == (says or "eps", says is None)


def test_an_argument_wins_over_what_the_files_say(written: dict) -> None:
    assert predicts(written[2].single, "eps") == ("eps", False)
    assert predicts(written[2].folder) == ("v", False) and predicts(written[2].folder, "epsilon") == ("eps", False)
    with pytest.raises(UserError, match="not 'noise'"):
        predicts(written[1].folder, "noise")


def test_metadata_say_what_a_file_predicts_and_are_shown_as_clipped_text(written: dict, tmp_path: Path) -> None:
    hostile = {
        "modelspec.title": "<img onerror=x>\n" + "x" * 100_000,
        "modelspec.prediction_type": "v",
        "junk": "y" * 10**6,
    }
    save_file(load_file(written[1].single), str(tmp_path / "x.safetensors"), hostile)
    parts = load_checkpoint(tmp_path / "x.safetensors")
    assert parts.prediction == "v" and len(parts.notes) == 1
    assert "<img onerror=x>?xxx" in parts.notes[0] and len(parts.notes[0]) < 200


def test_what_is_of_no_use_is_left_out_and_named(written: dict, tmp_path: Path) -> None:
    save_file(load_file(written[1].single) | {"my.notes": torch.ones(1)}, str(tmp_path / "x.safetensors"))
    assert any("1 tensors" in note and "'my.notes'" in note for note in load_checkpoint(tmp_path / "x.safetensors").notes)


def test_the_hash_is_the_first_ten_digits_of_the_weights_files_sha256(written: dict, tmp_path: Path) -> None:
    path = Path(shutil.copy(written[1].single, tmp_path / "my model.safetensors"))
    parts = load_checkpoint(path)
    assert parts.name == "my model"
    assert parts.hash == hashlib.sha256(path.read_bytes()).hexdigest()[:10]
    unet = written[1].folder / "unet" / "diffusion_pytorch_model.safetensors"
    assert load_checkpoint(written[1].folder).hash == hashlib.sha256(unet.read_bytes()).hexdigest()[:10]


def test_a_loaded_model_outlives_its_file(written: dict, tmp_path: Path) -> None:
    path = Path(shutil.copy(written[1].single, tmp_path / "x.safetensors"))
    parts = load_checkpoint(path)
    path.write_bytes(bytes(1000))
    assert parts.hash == ""  # not the hash of something else
    path.unlink()
    assert bit_equal(parts, load_checkpoint(written[1].single))


def test_paths_may_be_texts_and_start_at_home(written: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    home = written[1].single.parent
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    assert load_checkpoint("~/" + written[1].single.name).name == "single-1"


@pytest.mark.cuda
@HALVES
def test_a_checkpoint_loads_onto_a_gpu_bit_for_bit(small: Any, dtype: torch.dtype) -> None:
    here, there = weights(load_checkpoint(small.single, dtype=dtype)), weights(load_checkpoint(small.single, "cuda", dtype))
    assert all(tensor.is_cuda and torch.equal(tensor.cpu(), here[name]) for name, tensor in there.items())
