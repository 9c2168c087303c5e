"""Single files that must not load: each is called what it is, in one sentence that says what to do."""

from __future__ import annotations

import contextlib
import gc
import math
import pickle
import shutil
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.checkpoints import load
from core.checkpoints.load import load_checkpoint
from core.checkpoints.plan import plan_file
from core.checkpoints.read import Header, read_header, read_tensor
from core.errors import UserError
from tests.checkpoints.refusing import Canary, refusal

U = "model.diffusion_model."


def single_refusal(place: Path, tensors: dict[str, Tensor]) -> str:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, str(place / "x.safetensors"))
    return refusal(place / "x.safetensors")


@pytest.fixture(scope="module")
def one(written: Any) -> dict[str, Tensor]:
    return load_file(written[1].single)


@pytest.fixture(scope="module")
def two(written: Any) -> dict[str, Tensor]:
    return load_file(written[2].single)


def only(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def without(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if part not in name}


T = torch.ones
KINDS: dict[str, tuple[Callable[[dict[str, Tensor]], dict[str, Tensor]], str]] = {
    "SDXL": (lambda t: t | {"conditioner.embedders.0.transformer.x": T(4)}, "an SDXL checkpoint"),
    "label embedding": (lambda t: t | {U + "label_emb.0.0.weight": T(4)}, "SDXL or unCLIP"),
    "inpainting": (lambda t: t | {U + "input_blocks.0.0.weight": T(32, 9, 3, 3)}, "an inpainting model"),
    "pix2pix": (lambda t: t | {U + "input_blocks.0.0.weight": T(32, 8, 3, 3)}, "an InstructPix2Pix model"),
    "depth": (lambda t: t | {U + "input_blocks.0.0.weight": T(32, 5, 3, 3)}, "depth-to-image"),
    "upscaler": (lambda t: t | {U + "input_blocks.0.0.weight": T(32, 7, 3, 3)}, "an upscaler"),
    "six channels": (lambda t: t | {U + "input_blocks.0.0.weight": T(32, 6, 3, 3)}, "reads 6 channels"),
    "LoRA": (lambda t: {"lora_unet_down_blocks_0.lora_up.weight": T(4), "lora_te_x.alpha": T(1)}, "a LoRA"),
    "LoRA of diffusers": (lambda t: {"unet.down_blocks.0.attn.to_q.lora_A.weight": T(4)}, "a LoRA"),
    "LyCORIS": (lambda t: {"x.hada_w1_a": T(4)}, "a LyCORIS"),
    "ControlNet": (lambda t: t | {"control_model.time_embed.0.weight": T(4)}, "a ControlNet"),
    "ControlNet in a folder": (lambda t: {"controlnet_cond_embedding.x": T(4), "down_blocks.0": T(1)}, "a ControlNet"),
    "motion module": (lambda t: {"down_blocks.0.motion_modules.0.x": T(4)}, "a motion module"),
    "SD 3": (lambda t: {"model.diffusion_model.joint_blocks.0.x": T(4)}, "Stable Diffusion 3"),
    "Flux": (lambda t: {"double_blocks.0.x": T(4)}, "a Flux"),
    "textual inversion": (lambda t: {"emb_params": T(4)}, "a textual inversion"),
    "VAE of the original layout": (lambda t: only(t, "first_stage_model."), "holds a VAE only"),
    "VAE alone": (lambda t: {n[18:]: x for n, x in only(t, "first_stage_model.").items()}, "is a VAE without"),
    "U-Net alone": (lambda t: only(t, U), "a U-Net only, without VAE and text encoder"),
    "U-Net of a folder": (lambda t: {"down_blocks.0.resnets.0.conv1.weight": T(4)}, "U-Net of a folder"),
    "text encoder": (lambda t: {"text_model.final_layer_norm.bias": T(4)}, "a text encoder alone"),
    "no text encoder": (lambda t: without(t, "cond_stage"), "without text encoder"),
    "something else": (lambda t: {f"layer.{i}": T(2) for i in range(9)}, "'layer.0', 'layer.1', 'layer.2' and 6 more"),
    "nothing": (lambda t: {}, "it holds nothing"),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_relative_of_stable_diffusion_is_called_by_its_name(kind: str, one: Any, place: Path) -> None:
    change, says = KINDS[kind]
    sentence = single_refusal(place, change(one))
    assert says in sentence and "x.safetensors" in sentence
    assert "Only Stable Diffusion 1.x and 2.x" in sentence or "use a complete checkpoint" in sentence


def test_missing_weights_are_counted_and_the_first_five_named(one: Any, two: Any, place: Path) -> None:
    sentence = single_refusal(place, without(one, "middle_block.1.transformer_blocks.0.attn1"))
    assert "The U-Net lacks 5 of its" in sentence and "middle_block.1.transformer_blocks.0.attn1.to_q.weight'" in sentence
    many = single_refusal(place, without(one, "middle_block.1."))
    assert many.count("'model.diffusion_model.") == 5 and " more." in many
    assert "The VAE lacks" in single_refusal(place, without(one, "mid.attn_1.q"))
    assert "The text encoder lacks" in single_refusal(place, without(one, "layers.1.mlp.fc2"))
    assert "in_proj_bias" in single_refusal(place, without(two, "resblocks.0.attn.in_proj_bias"))


# What the numbers of a network are read from; a gap in a row of blocks must not pass for a shorter row.
GAPS = {
    1: ("input_blocks.1.0.out_layers.3", "attn2.to_k", "out.2.weight", "post_quant_conv", "token_embedding",
        "encoder.down.0.block.0.conv1", "encoder.down.1.block.0.norm1", "input_blocks.3.0.op", "input_blocks.2.",
        "input_blocks.7.0.in_layers.0", "position_embedding", "layers.0.mlp.fc1", "layers.0."),
    2: ("input_blocks.2.0.op", "input_blocks.3.", "out.2.weight", "post_quant_conv", "token_embedding",
        "encoder.down.0.block.1.", "positional_embedding", "resblocks.0.mlp.c_fc", "resblocks.0.ln_1", "resblocks.0.",
        "resblocks.1."),
}  # fmt: skip


@pytest.mark.parametrize(("generation", "part"), [(n, part) for n, parts in GAPS.items() for part in parts])
def test_a_gap_in_what_sizes_are_read_from_is_refused(generation: int, part: str, one: Any, two: Any, place: Path) -> None:
    whole = {1: one, 2: two}[generation]
    rest = without(whole, part)
    assert len(rest) < len(whole) and single_refusal(place, rest)


@pytest.mark.parametrize("generation", [1, 2])
def test_no_single_weight_may_be_missing(generation: int, one: Any, two: Any, place: Path) -> None:
    save_file({1: one, 2: two}[generation], str(place / "x.safetensors"))
    header = read_header(place / "x.safetensors")
    needed = {name for draft in plan_file(header, None).drafts for name in draft.entries}
    for name in sorted(needed)[:: 1 + len(needed) // 40]:
        with pytest.raises(UserError, match=r"lacks|without"):
            plan_file(Header(header.path, {n: e for n, e in header.tensors.items() if n != name}, {}), None)


def test_weights_of_another_shape_are_named_with_both_shapes(one: Any, place: Path) -> None:
    name = U + "middle_block.1.transformer_blocks.0.attn2.to_k.weight"
    assert f"'{name} 64×7 instead of 64×32'" in single_refusal(place, one | {name: T(64, 7)})
    scalar = U + "out.2.bias"
    assert "one number instead of 4" in single_refusal(place, one | {scalar: torch.tensor(1.0)})


def test_a_weight_under_two_names_is_refused(one: Any, place: Path) -> None:
    name = "cond_stage_model.transformer.text_model.final_layer_norm.bias"
    assert "twice" in single_refusal(place, one | {name.replace("text_model.", ""): T(32)})


def test_weights_that_the_u_net_has_no_place_for_are_refused(one: Any, place: Path) -> None:
    assert "1 weights that Stable Diffusion has no place for" in single_refusal(place, one | {U + "extra.weight": T(1)})


@pytest.mark.parametrize("fault", [math.nan, math.inf])
def test_a_weight_that_is_not_finite_is_named(fault: float, one: Any, written: Any, place: Path) -> None:
    name = "first_stage_model.decoder.conv_out.bias"
    assert name in single_refusal(place, one | {name: torch.tensor([1.0, fault, 1.0])})
    folder = shutil.copytree(written[1].folder, place / "model")
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file(load_file(file) | {"conv_out.bias": torch.tensor([1.0, fault, 1.0, 1.0])}, str(file))
    assert "'conv_out.bias' holds NaN or infinity" in refusal(folder)


def test_a_network_of_zeros_is_refused(one: Any, place: Path) -> None:
    zeros = {name: torch.zeros_like(tensor) if name.startswith(U) else tensor for name, tensor in one.items()}
    assert "Every weight of the UNet" in single_refusal(place, zeros)


def test_a_weight_too_large_for_fp16_is_named_and_loads_as_fp32(one: Any, place: Path) -> None:
    large = one | {U + "out.2.bias": torch.full((4,), 1e6)}
    save_file(large, str(place / "x.safetensors"))
    assert "too large for fp16" in refusal(place / "x.safetensors", torch.float16)
    assert load_checkpoint(place / "x.safetensors").unet.conv_out.bias[0] == 1e6


def test_fp8_and_whole_numbers_are_refused_by_the_name_of_the_tensor(one: Any, place: Path) -> None:
    name = U + "middle_block.0.in_layers.2.weight"
    assert f"'{name}' holds fp8" in single_refusal(place, one | {name: one[name].to(torch.float8_e4m3fn)})
    assert f"'{name}' holds I8" in single_refusal(place, one | {name: one[name].to(torch.int8)})


def test_of_a_file_that_is_refused_half_way_nothing_stays_in_memory(
    one: Any, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[weakref.ref[Tensor]] = []

    def watched(file: Any, entry: Any) -> Tensor:
        tensor = read_tensor(file, entry)
        taken.append(weakref.ref(tensor))
        return tensor

    monkeypatch.setattr(load, "read_tensor", watched)
    single_refusal(place, one | {U + "out.2.bias": torch.full((4,), math.nan)})
    gc.collect()
    assert len(taken) > 100 and not [tensor for tensor in taken if tensor() is not None]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_a_header_lists_it_is_refused_or_planned(written: Any, data: st.DataObject) -> None:
    header = read_header(written[data.draw(st.sampled_from([1, 2]))].single)
    entries = dict(header.tensors)
    for name in data.draw(st.lists(st.sampled_from(sorted(entries)), max_size=3, unique=True)):
        entry = entries.pop(name)
        how = data.draw(st.sampled_from(["drop", "rename", "reshape"]))
        if how == "rename":
            entries[name + data.draw(st.sampled_from([".x", "0", "", "/../x"]))] = entry
        if how == "reshape":
            entries[name] = replace(entry, shape=tuple(data.draw(st.lists(st.integers(0, 100), max_size=4))))
    with contextlib.suppress(UserError):
        plan_file(Header(header.path, entries, {}), None)


@pytest.mark.parametrize("name", ["x.ckpt", "x.pt", "x.pth", "x.bin", "x.CKPT", "x.safetensors"])
def test_a_pickle_is_never_opened_whatever_it_is_called(name: str, place: Path) -> None:
    (place / name).write_bytes(pickle.dumps(Canary(place / "canary")))
    assert "pickle file, which can run any code" in refusal(place / name)
    assert not (place / "canary").exists()


def test_a_path_to_nothing_or_to_something_else_says_what_to_name(place: Path, written: Any) -> None:
    (place / "x.txt").write_text("hello")
    (place / "empty").mkdir()
    assert "is no .safetensors file" in refusal(place / "x.txt")
    assert "it has no model_index.json" in refusal(place / "empty")
    shutil.copy(written[1].single, place / "empty" / "in.safetensors")
    assert "name the file 'in.safetensors' in it instead" in refusal(place / "empty")


@pytest.mark.parametrize("path", ["/nowhere/x.safetensors", "a\0b", "x" * 5000, "https://example.org/x", "~no-one-here/x"])
def test_a_place_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(UserError, match=r"name a folder in the diffusers layout or a \.safetensors file"):
        load_checkpoint(path)
