"""Folders that must not load: a part missing, a config that lies, a name or a link that leads elsewhere."""

from __future__ import annotations

import json
import math
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.checkpoints.folder import NETWORKS, config_of
from core.errors import UserError
from tests.checkpoints.refusing import Canary, refusal

INDEX, UNET, VAE, TEXT = "model_index.json", "unet/config.json", "vae/config.json", "text_encoder/config.json"
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"

LIES: dict[str, tuple[str, dict[str, Any], str]] = {
    "SDXL": (INDEX, {"_class_name": "StableDiffusionXLPipeline"}, "an SDXL model"),
    "inpainting": (INDEX, {"_class_name": "StableDiffusionInpaintPipeline"}, "an inpainting model"),
    "unknown pipeline": (INDEX, {"_class_name": "os.system"}, "the class 'os.system'"),
    "no pipeline": (INDEX, {"_class_name": None}, "the class 'None'"),
    "no network": (INDEX, {"unet": None}, "gives 'nothing' as the class of unet"),
    "unknown network": (INDEX, {"unet": ["evil", "Evil"]}, "'Evil' as the class of unet"),
    "other class": (UNET, {"_class_name": "UNet3D"}, "'UNet3D' as the class of unet"),
    "other text": (TEXT, {"architectures": ["T5"]}, "'T5' as the class of text_encoder"),
    "9 channels": (UNET, {"in_channels": 9}, "an inpainting model"),
    "8 channels": (UNET, {"in_channels": 8}, "an InstructPix2Pix model"),
    "10^9 channels": (UNET, {"block_out_channels": [32 * 10**9] * 2}, "block_out_channels"),
    "10^5 levels": (VAE, {"block_out_channels": [32] * 10**5}, "block_out_channels"),
    "10^9 layers": (UNET, {"layers_per_block": 10**9}, "layers_per_block"),
    "channels as text": (UNET, {"block_out_channels": "many"}, "The U-Net's config.json"),
    "channels as truth": (VAE, {"block_out_channels": [True, 32]}, "The VAE's channels"),
    "0 groups": (UNET, {"norm_num_groups": 0}, UNET),
    "0 heads": (UNET, {"attention_head_dim": 0}, UNET),
    "heads as text": (UNET, {"attention_head_dim": ["a", "b"]}, UNET),
    "NaN scale": (VAE, {"scaling_factor": math.nan}, "scaling_factor"),
    "10^12 words": (TEXT, {"vocab_size": 10**12}, "vocab_size"),
    "layers as list": (TEXT, {"num_hidden_layers": [1]}, "num_hidden_layers"),
    "few words": (TEXT, {"vocab_size": 200}, "they are of two models"),
    "few places": (TEXT, {"max_position_embeddings": 20}, "they are of two models"),
    "other size": (UNET, {"cross_attention_dim": 48}, "in another shape"),
    "more layers": (TEXT, {"num_hidden_layers": 5}, "The text encoder lacks"),
    "no layers": (VAE, {"layers_per_block": 0}, "layers_per_block"),
    "fewer attentions": (UNET, {"down_block_types": ["DownBlock2D"] * 2}, "no place for"),
    "unknown block": (UNET, {"down_block_types": ["Evil"] * 2}, "'Evil'"),
}  # fmt: skip


def remove(name: str) -> Callable[[Path], Any]:
    return lambda folder: shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()


def write(name: str, content: bytes) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes(content)


def grow(name: str, size: int = 1_000_000_000) -> Callable[[Path], Any]:
    """Make a file large without filling the disk; a negative size cuts so many bytes off."""
    return lambda folder: os.truncate(folder / name, size if size > 0 else (folder / name).stat().st_size + size)


def folder_instead(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).mkdir()


BREAKS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no U-Net": (remove("unet"), "unet/config.json cannot be read"),
    "no weights": (remove(WEIGHTS), "unet/ holds no weights"),
    "no tokenizer": (remove("tokenizer"), "tokenizer/tokenizer.json cannot be read"),
    "no config": (remove(TEXT), "text_encoder/config.json cannot be read"),
    "deep JSON": (write(UNET, b"[" * 200_000), "unet/config.json is no JSON"),
    "array": (write(INDEX, b"[]"), "model_index.json holds no JSON object"),
    "bad UTF-8": (write(VAE, b"\xff\xfe{}"), "vae/config.json is no text"),
    "1 GB vocabulary": (grow("tokenizer/vocab.json"), "vocab.json has 1000 MB"),
    "1 GB config": (grow(UNET), "unet/config.json has 1000 MB"),
    "cut weights": (grow(WEIGHTS, -1000), "is incomplete ("),
    "weights are a folder": (folder_instead, "is no file"),
}


@pytest.mark.parametrize("kind", LIES)
def test_a_config_that_lies_is_refused_by_the_name_of_what_is_wrong(kind: str, ours: Path, place: Path) -> None:
    name, changes, says = LIES[kind]
    folder = shutil.copytree(ours, place / "model")
    (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | changes))
    assert says in refusal(folder)


@pytest.mark.parametrize("kind", BREAKS)
def test_a_broken_folder_is_refused_by_the_name_of_what_is_wrong(kind: str, ours: Path, place: Path) -> None:
    change, says = BREAKS[kind]
    folder = shutil.copytree(ours, place / "model")
    change(folder)
    assert says in refusal(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("name", [WEIGHTS, VAE, INDEX, "tokenizer/vocab.json"])
def test_a_pipe_in_the_place_of_a_file_does_not_make_us_wait(name: str, ours: Path, place: Path) -> None:
    folder = shutil.copytree(ours, place / "model")
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert "is no file" in refusal(folder)


def test_a_folder_of_pickles_is_refused_and_none_is_opened(ours: Path, place: Path) -> None:
    folder = shutil.copytree(ours, place / "model")
    (folder / WEIGHTS).unlink()
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Canary(place / "canary")))
    assert "unet/diffusion_pytorch_model.bin is a pickle file" in refusal(folder)
    assert not (place / "canary").exists()


OUTSIDE = ["../../x.safetensors", "/etc/x.safetensors", "..\\x.safetensors", "sub/x.safetensors", "x.bin", "", ".."]


@pytest.mark.parametrize("name", OUTSIDE)
def test_an_index_cannot_lead_out_of_its_folder(name: str, ours: Path, place: Path) -> None:
    folder = shutil.copytree(ours, place / "model")
    (folder / WEIGHTS).rename(place / "x.safetensors")
    (folder / (WEIGHTS + ".index.json")).write_text(json.dumps({"weight_map": {"conv_in.weight": name}}))
    assert "which is not in its folder" in refusal(folder)


@pytest.mark.parametrize("index", [{}, {"weight_map": []}, {"weight_map": {}}, {"weight_map": {"a": "b.safetensors"}}])
def test_a_broken_index_is_refused(index: Any, ours: Path, place: Path) -> None:
    folder = shutil.copytree(ours, place / "model")
    (folder / WEIGHTS).unlink()
    (folder / (WEIGHTS + ".index.json")).write_text(json.dumps(index))
    assert "lists no weights" in refusal(folder) or "b.safetensors is missing" in refusal(folder)


def test_a_tensor_in_two_shards_is_refused(ours: Path, place: Path) -> None:
    folder = shutil.copytree(ours, place / "model")
    for name in ("a.safetensors", "b.safetensors"):
        shutil.copy(folder / WEIGHTS, folder / "unet" / name)
    (folder / WEIGHTS).unlink()
    index = {"weight_map": {"conv_in.weight": "a.safetensors", "conv_in.bias": "b.safetensors"}}
    (folder / (WEIGHTS + ".index.json")).write_text(json.dumps(index))
    assert "in two of its files" in refusal(folder)


@pytest.mark.parametrize("name", [WEIGHTS, VAE, INDEX, "tokenizer/vocab.json", "scheduler/scheduler_config.json"])
def test_links_out_of_the_folder_and_in_circles_are_refused(name: str, ours: Path, place: Path) -> None:
    folder = shutil.copytree(ours, place / "model")
    outside = place / "outside"
    (folder / name).rename(outside)
    for target in (outside, folder / name):
        try:
            (folder / name).symlink_to(target)
        except OSError:
            pytest.skip("this system makes no links")
        refusal(folder)
        (folder / name).unlink()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([1, 2, 32, 64]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)


@pytest.mark.parametrize("network", NETWORKS)
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_whatever_a_config_holds_it_is_refused_or_describes_a_network_of_bounded_size(network: str, data: st.DataObject) -> None:
    kind = NETWORKS[network][1]
    keys = data.draw(st.lists(st.sampled_from([*kind._KEYS.values(), *kind._ONLY]), max_size=4, unique=True))
    try:
        config = config_of(kind, kind().to_json() | {key: data.draw(JSON) for key in keys}, network)
    except UserError as error:
        assert len(str(error)) < 900
    else:
        numbers = [n for value in vars(config).values() for n in (value if isinstance(value, tuple) else [value])]
        assert all(abs(n) <= 10**6 for n in numbers if isinstance(n, int | float) and n not in (config_ids(config)))


def config_ids(config: Any) -> list[int]:
    """Special ids: numbers that size nothing, and that the tokenizer overrides."""
    return [getattr(config, name) for name in ("bos", "eos", "pad") if hasattr(config, name)]
