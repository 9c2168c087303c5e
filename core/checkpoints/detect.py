"""What a single .safetensors file is, told from the names and shapes in its header alone.

Stable Diffusion 1.x and 2.x in the original layout are described as configs, read off the shapes; the heads, which no
shape shows, by their rule: 8 in each attention of SD 1, heads of 64 features in SD 2 and in both text towers.
Everything else is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from core.checkpoints.keymaps import CLIP, COMPLETE, OPENCLIP, UNET, VAE, first
from core.checkpoints.read import Entry, Header
from core.errors import UserError
from core.nets.configs import TextConfig, UNetConfig, VAEConfig

HEAD = 64  # features of a head in SD 2's U-Net and in CLIP's text towers
SUPPORTED = "Only Stable Diffusion 1.x and 2.x text-to-image models are supported"
Names = Mapping[str, Entry]


@dataclass(frozen=True)
class Single:
    """A single-file checkpoint of Stable Diffusion: its generation and the configs of its networks."""

    generation: int  # 1 or 2
    unet: UNetConfig
    vae: VAEConfig
    text: TextConfig


def _with(*parts: str) -> Callable[[Names], bool]:
    return lambda names: any(part in name for name in names for part in parts)


def _under(*prefixes: str) -> Callable[[Names], bool]:
    return lambda names: any(name.startswith(prefixes) for name in names)


# What no Stable Diffusion checkpoint holds, whatever else is in the file.
FOREIGN: tuple[tuple[Callable[[Names], bool], str], ...] = (
    (_with("lora_unet", "lora_te", ".lora_up", ".lora_down", "lora_A", "lora_B", ".lora.", "lora_linear_layer"),
     "a LoRA, a small change to another model"),
    (_with("hada_w1", "lokr_w1"), "a LyCORIS file, a small change to another model"),
    (_under("control_model.", "input_hint_block.", "controlnet_cond_embedding."), "a ControlNet"),
    (_with("motion_modules"), "a motion module (AnimateDiff)"),
    (_under("conditioner.embedders."), "an SDXL checkpoint"),
    (_with("joint_blocks."), "a Stable Diffusion 3 checkpoint"),
    (_with("double_blocks."), "a Flux checkpoint"),
    (_under(UNET + "label_emb.", "label_emb.", "add_embedding."), "an SDXL or unCLIP model"),
)  # fmt: skip
# What a file is that lacks a U-Net, a VAE or a text encoder under the names of the original layout.
PARTS: tuple[tuple[Callable[[Names], bool], str], ...] = (
    (_under("emb_params", "string_to_param", "clip_l", "clip_g"), "a textual inversion, words for another model"),
    (_under("down_blocks.", "time_embedding."), "the U-Net of a folder alone: name the whole folder"),
    (_under("text_model.", "encoder.layers."), "a text encoder alone: name the folder it belongs to"),
    (_under("encoder.down", "decoder.up", "encoder.conv_in"), "a VAE without U-Net and text encoder"),
)  # fmt: skip

INPUTS = {
    9: "an inpainting model (its U-Net reads 9 channels)", 8: "an InstructPix2Pix model (its U-Net reads 8 channels)",
    5: "a depth-to-image model (its U-Net reads 5 channels)", 7: "an upscaler (its U-Net reads 7 channels)",
}  # fmt: skip

# What complete checkpoints hold beside the networks: averaged copies, tables of the schedule, the end of OpenCLIP.
KNOWN_EXTRAS = re.compile(
    r"model_ema\.|.*\bposition_ids$|first_stage_model\.loss\.|scale_factor$|lvlb_weights$|logvar$"
    r"|(betas|alphas_cumprod(_prev)?|sqrt_\w+|log_one_minus_\w+|posterior_\w+)$"
    r"|cond_stage_model\.(\w+\.)*(text_projection|logit_scale|attn_mask)(\.weight)?$"
    r"|cond_stage_model\.model\.(visual\.|transformer\.resblocks\.)"
)


def detect(header: Header) -> Single:
    """The generation and the configs of a single-file checkpoint; a UserError that names what else it is."""
    names, file = header.tensors, header.path.name
    whole = all(any(name.startswith(prefix) for name in names) for prefix in (UNET, VAE, "cond_stage_model."))
    for test, kind in FOREIGN if whole else (*FOREIGN, *PARTS):
        if test(names):
            raise UserError(f"{file} is {kind}. {SUPPORTED}.")
    weight = names.get(UNET + "input_blocks.0.0.weight")
    if weight is not None and len(weight.shape) == 4:
        check_inputs(file, weight.shape[1])
    if not whole:
        _refuse_part(file, names)
    unet = _unet(names)
    generation = 2 if _under(OPENCLIP)(names) else 1
    text = _openclip(names) if generation == 2 else _clip(names)
    return Single(generation, unet, _vae(names), text)


def check_inputs(file: str, channels: int) -> None:
    """Refuse the relatives of Stable Diffusion whose U-Net reads more than the four channels of a latent."""
    if channels != 4:
        kind = INPUTS.get(channels, f"a model whose U-Net reads {channels} channels")
        raise UserError(f"{file} is {kind}. {SUPPORTED}.")


def unused(names: Names, used: set[str], strict: tuple[str, ...]) -> list[str]:
    """The tensors that are neither used nor known extras; under a prefix in `strict` there may be none."""
    rest = [name for name in names if name not in used and not KNOWN_EXTRAS.match(name)]
    foreign = [name for name in rest if name.startswith(strict)]
    if foreign:
        count = f"{len(foreign)} weights that Stable Diffusion has no place for"
        raise UserError(f"The checkpoint holds {count}: {first(foreign)}. {SUPPORTED}.")
    return rest


def _refuse_part(file: str, names: Names) -> None:
    parts = ((UNET, "U-Net"), (VAE, "VAE"), ("cond_stage_model.", "text encoder"))
    there = [part for prefix, part in parts if _under(prefix)(names)]
    if there:
        lacks = " and ".join(part for _, part in parts if part not in there)
        raise UserError(f"{file} holds a {' and a '.join(there)} only, without {lacks}: use a complete checkpoint.")
    few = first(list(names), 3) or "nothing"
    raise UserError(f"{file} is no model that is known here (it holds {few}). {SUPPORTED}.")


def _shape(names: Names, name: str, ndim: int) -> tuple[int, ...]:
    entry = names.get(name)
    if entry is None:
        raise UserError(f"The checkpoint lacks the weight '{name}'. {COMPLETE}.")
    if len(entry.shape) != ndim or 0 in entry.shape:
        raise UserError(f"The weight '{name}' has the shape {list(entry.shape)} instead of {ndim} sides. {SUPPORTED}.")
    return entry.shape


def _unet(names: Names) -> UNetConfig:
    channels: list[int] = []
    attends: list[bool] = []
    layers: list[int] = []
    new = True
    for n in range(1, _count(names, UNET + "input_blocks.")):
        block = f"{UNET}input_blocks.{n}."
        if block + "0.op.weight" in names:
            new = True
            continue
        if new:
            channels.append(_shape(names, block + "0.out_layers.3.weight", 4)[0])
            attends.append(block + "1.norm.weight" in names)
            layers.append(0)
        layers[-1] += 1
        new = False
    if not any(attends):
        raise UserError(f"The checkpoint's U-Net has no blocks with attention to text. {SUPPORTED}.")
    block = f"{UNET}input_blocks.{1 + attends.index(True) * (layers[0] + 1)}.1."
    context = _shape(names, block + "transformer_blocks.0.attn2.to_k.weight", 2)[1]
    linear = block + "proj_in.weight" in names and len(names[block + "proj_in.weight"].shape) == 2
    heads = tuple(max(c // HEAD, 1) if linear else 8 for c in channels)
    return UNetConfig(
        channels=tuple(channels), attends=tuple(attends), heads=heads, layers=layers[0], context_dim=context,
        out_channels=_shape(names, UNET + "out.2.weight", 4)[0], linear_projection=linear,
    )  # fmt: skip


def _vae(names: Names) -> VAEConfig:
    down = VAE + "encoder.down."
    levels = range(_count(names, down))
    channels = tuple(_shape(names, f"{down}{i}.block.0.conv1.weight", 4)[0] for i in levels)
    if not channels or _shape(names, VAE + "post_quant_conv.weight", 4)[0] != 4:
        raise UserError(f"The checkpoint's VAE is not that of Stable Diffusion. {SUPPORTED}.")
    return VAEConfig(channels=channels, layers=_count(names, down + "0.block."))


def _clip(names: Names) -> TextConfig:
    prefix = CLIP + ("text_model." if _under(CLIP + "text_model.")(names) else "")
    vocab, width = _shape(names, prefix + "embeddings.token_embedding.weight", 2)
    return TextConfig(
        vocab=vocab, width=width, layers=_count(names, prefix + "encoder.layers."), heads=max(width // HEAD, 1),
        mlp=_shape(names, prefix + "encoder.layers.0.mlp.fc1.weight", 2)[0],
        length=_shape(names, prefix + "embeddings.position_embedding.weight", 2)[0],
    )  # fmt: skip


def _openclip(names: Names) -> TextConfig:
    vocab, width = _shape(names, OPENCLIP + "token_embedding.weight", 2)
    layers = _count(names, OPENCLIP + "transformer.resblocks.")
    # SD 2 reads the states before the last of 24 layers; a file made from a folder has only the 23 that are read.
    layers = layers if (layers, width) == (23, 1024) else layers - 1
    return TextConfig(
        vocab=vocab, width=width, layers=layers, heads=max(width // HEAD, 1), activation="gelu",
        mlp=_shape(names, OPENCLIP + "transformer.resblocks.0.mlp.c_fc.weight", 2)[0],
        length=_shape(names, OPENCLIP + "positional_embedding", 2)[0],
    )  # fmt: skip


def _count(names: Names, prefix: str) -> int:
    """One more than the highest number behind a prefix: a gap shows up later, as weights that are missing."""
    numbers = (name[len(prefix) :].partition(".")[0] for name in names if name.startswith(prefix))
    return 1 + max((int(number) for number in numbers if re.fullmatch("[0-9]{1,3}", number)), default=-1)
