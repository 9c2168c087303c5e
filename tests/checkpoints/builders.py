"""Small random Stable Diffusion models, written by diffusers as folders, and as single files by the inverse of a table.

The way from diffusers' names to those of the original layout is written here a second time, from the layout itself
(blocks are numbered in the order they run), so that a mistake in core/checkpoints/keymaps.py cannot hide behind its own
mirror image.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL as PeerVAE
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from core.nets.clip import TextEncoder
from core.nets.configs import TextConfig, UNetConfig, VAEConfig
from core.nets.tokenizer import train_tokenizer
from core.nets.unet import UNet
from core.nets.vae import AutoencoderKL
from core.training.export import write_component, write_index

CLIP_BPE = Path(__file__).parents[2] / "assets" / "clip-bpe"
diffusers.utils.logging.set_verbosity_error()
diffusers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


@dataclass(frozen=True)
class Sizes:
    """The numbers of one model; the rest follows from its generation."""

    generation: int
    unet: tuple[int, ...]
    attends: tuple[bool, ...]
    unet_layers: int
    vae: tuple[int, ...]
    vae_layers: int
    width: int
    mlp: int
    text_layers: int  # as the folder counts them; the single file of SD 2 has one more
    text_heads: int = 1


SMALL_1 = Sizes(1, (32, 64, 64), (True, True, False), 2, (32, 64), 1, 32, 64, 2)
SMALL_2 = Sizes(2, (64, 128), (True, False), 1, (32, 32, 64), 2, 64, 96, 2)
REAL = (320, 640, 1280, 1280), (True, True, True, False), 2, (128, 256, 512, 512), 2
REAL_1, REAL_2 = Sizes(1, *REAL, 768, 3072, 12, 12), Sizes(2, *REAL, 1024, 4096, 23, 16)


def build(sizes: Sizes, seed: int = 0, prediction: str = "epsilon") -> StableDiffusionPipeline:
    """A random pipeline of diffusers' and transformers' own classes."""
    torch.manual_seed(seed)
    second = sizes.generation == 2
    heads = [c // 64 for c in sizes.unet] if second else 8
    unet = UNet2DConditionModel(
        block_out_channels=sizes.unet, layers_per_block=sizes.unet_layers, cross_attention_dim=sizes.width,
        down_block_types=[("CrossAttn" if a else "") + "DownBlock2D" for a in sizes.attends],
        up_block_types=[("CrossAttn" if a else "") + "UpBlock2D" for a in reversed(sizes.attends)],
        attention_head_dim=heads, use_linear_projection=second,
    )  # fmt: skip
    vae = PeerVAE(
        block_out_channels=sizes.vae, layers_per_block=sizes.vae_layers, latent_channels=4,
        down_block_types=["DownEncoderBlock2D"] * len(sizes.vae), up_block_types=["UpDecoderBlock2D"] * len(sizes.vae),
    )  # fmt: skip
    text = CLIPTextModel(CLIPTextConfig(
        vocab_size=49408, hidden_size=sizes.width, intermediate_size=sizes.mlp, num_hidden_layers=sizes.text_layers,
        num_attention_heads=sizes.text_heads, hidden_act="gelu" if second else "quick_gelu", bos_token_id=49406,
        eos_token_id=49407, pad_token_id=0 if second else 49407,
    ))  # fmt: skip
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, prediction_type=prediction,
        set_alpha_to_one=False, clip_sample=False,
    )  # fmt: skip
    for module in (unet, vae, text):
        jostle(module)
    tokenizer = CLIPTokenizer.from_pretrained(str(CLIP_BPE), **({"pad_token": "!"} if second else {}))
    return StableDiffusionPipeline(
        vae=vae.eval(), text_encoder=text.eval(), tokenizer=tokenizer, unet=unet.eval(), scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


@torch.no_grad()
def jostle(module: torch.nn.Module) -> None:
    """Move every parameter off its initial value: a norm's ones and zeros would hide that two were exchanged."""
    for parameter in module.parameters():
        parameter += 0.05 * torch.randn_like(parameter)


def write_folder(pipe: StableDiffusionPipeline, folder: Path, **kwargs: Any) -> Path:
    """The diffusers layout, as diffusers writes it."""
    pipe.save_pretrained(str(folder), safe_serialization=True, **kwargs)
    return folder


def write_single(pipe: StableDiffusionPipeline, path: Path, dtype: torch.dtype = torch.float32, **kwargs: Any) -> Path:
    """The original single-file layout."""
    tensors = {
        name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in single_tensors(pipe, **kwargs).items()
    }
    save_file(tensors, str(path))
    return path


def single_tensors(pipe: StableDiffusionPipeline, old_vae: bool = False, extras: bool = True) -> dict[str, Tensor]:
    """All weights under the names of the original layout; with the extras that real files carry."""
    second = bool(pipe.unet.config.use_linear_projection)
    found = {f"model.diffusion_model.{name}": tensor for name, tensor in ldm_unet(pipe.unet).items()}
    found |= {f"first_stage_model.{name}": tensor for name, tensor in ldm_vae(pipe.vae, old_vae).items()}
    text = {name.removeprefix("text_model."): t for name, t in pipe.text_encoder.state_dict().items()}
    text.pop("embeddings.position_ids", None)
    if second:
        found |= {f"cond_stage_model.model.{name}": tensor for name, tensor in openclip(text).items()}
    else:
        found |= {f"cond_stage_model.transformer.text_model.{name}": tensor for name, tensor in text.items()}
    return found | (real_extras(second) if extras else {})


def real_extras(second: bool) -> dict[str, Tensor]:
    """Some of what the published files carry beside the weights: averaged copies, tables, the end of the text tower."""
    found = {name: torch.rand(1000) for name in ("alphas_cumprod", "betas", "sqrt_alphas_cumprod")}
    found |= {
        "model_ema.diffusion_modelinput_blocks00weight": torch.randn(4, 4, 3, 3),
        "model_ema.decay": torch.tensor(1),
    }
    if second:
        tower = "cond_stage_model.model."
        return found | {tower + "text_projection": torch.randn(9, 9), tower + "logit_scale": torch.tensor(2.0)}
    return found | {"cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(77)[None]}


RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
          "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}  # fmt: skip


def ldm_unet(unet: UNet2DConditionModel) -> dict[str, Tensor]:
    """Number the blocks in the order in which they run."""
    places = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
              "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2"}  # fmt: skip
    number = 1
    for i, block in enumerate(unet.down_blocks):
        for j in range(len(block.resnets)):
            places |= {
                f"down_blocks.{i}.resnets.{j}": f"input_blocks.{number}.0",
                f"down_blocks.{i}.attentions.{j}": f"input_blocks.{number}.1",
            }
            number += 1
        if block.downsamplers:
            places[f"down_blocks.{i}.downsamplers.0.conv"] = f"input_blocks.{number}.0.op"
            number += 1
    places |= {
        "mid_block.resnets.0": "middle_block.0",
        "mid_block.attentions.0": "middle_block.1",
        "mid_block.resnets.1": "middle_block.2",
    }
    number = 0
    for i, block in enumerate(unet.up_blocks):
        for j in range(len(block.resnets)):
            members = 1
            places[f"up_blocks.{i}.resnets.{j}"] = f"output_blocks.{number}.0"
            if getattr(block, "attentions", None):
                places[f"up_blocks.{i}.attentions.{j}"] = f"output_blocks.{number}.1"
                members = 2
            if block.upsamplers and j == len(block.resnets) - 1:
                places[f"up_blocks.{i}.upsamplers.0"] = f"output_blocks.{number}.{members}"
            number += 1
    found = {}
    for name, tensor in unet.state_dict().items():
        here = max((place for place in places if name.startswith(place + ".")), key=len)
        rest = name[len(here) + 1 :]
        if ".resnets." in here:
            module, kind = rest.rsplit(".", 1)
            rest = f"{RESNET[module]}.{kind}"
        found[f"{places[here]}.{rest}"] = tensor
    return found


def ldm_vae(vae: PeerVAE, old: bool) -> dict[str, Tensor]:
    """Levels of the decoder are counted from the finest; attention is made of 1×1 convolutions (old: of matrices)."""
    last = len(vae.config.block_out_channels) - 1
    found = {}
    for name, tensor in vae.state_dict().items():
        new = re.sub(r"down_blocks\.(\d+)\.resnets", r"down.\1.block", name)
        new = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", new)
        new = re.sub(r"up_blocks\.(\d+)\.resnets", lambda m: f"up.{last - int(m[1])}.block", new)
        new = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"up.{last - int(m[1])}.upsample", new)
        new = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", new)
        new = (
            new.replace("mid_block.attentions.0", "mid.attn_1")
            .replace("conv_norm_out", "norm_out")
            .replace("conv_shortcut", "nin_shortcut")
        )
        for ours, theirs in {
            "group_norm": "norm",
            "to_q": "q",
            "to_k": "k",
            "to_v": "v",
            "to_out.0": "proj_out",
        }.items():
            new = new.replace(f"attn_1.{ours}.", f"attn_1.{theirs}.")
        square = re.search(r"attn_1\.(q|k|v|proj_out)\.weight", new)
        found[new] = tensor[:, :, None, None] if square and not old else tensor
    return found


def openclip(text: dict[str, Tensor]) -> dict[str, Tensor]:
    """q, k and v in one matrix, and one more layer at the end that SD 2 never runs."""
    layers = 1 + max(int(m[1]) for name in text if (m := re.match(r"encoder\.layers\.(\d+)\.", name)))
    found = {
        "token_embedding.weight": text["embeddings.token_embedding.weight"],
        "positional_embedding": text["embeddings.position_embedding.weight"],
        "ln_final.weight": text["final_layer_norm.weight"], "ln_final.bias": text["final_layer_norm.bias"],
    }  # fmt: skip
    names = {
        "layer_norm1": "ln_1",
        "layer_norm2": "ln_2",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
        "self_attn.out_proj": "attn.out_proj",
    }
    for i in range(layers):
        here, there = f"encoder.layers.{i}.", f"transformer.resblocks.{i}."
        for kind in ("weight", "bias"):
            found |= {f"{there}{new}.{kind}": text[f"{here}{old}.{kind}"] for old, new in names.items()}
            found[f"{there}attn.in_proj_{kind}"] = torch.cat([text[f"{here}self_attn.{x}_proj.{kind}"] for x in "qkv"])
    extra = {
        name.replace(f"resblocks.{layers - 1}.", f"resblocks.{layers}."): torch.randn_like(t)
        for name, t in found.items()
        if f"resblocks.{layers - 1}." in name
    }
    return found | extra


def write_ours(folder: Path) -> Path:
    """A small model in the form of the embedded one: our own networks, tokenizer and export; v, cosine schedule, fp16."""
    torch.manual_seed(4)
    train_tokenizer((f"a {colour} {shape}" for colour in ("red", "blue") for shape in ("star", "heart")), 600, folder / "tokenizer")
    vocab = len(json.loads((folder / "tokenizer" / "vocab.json").read_text(encoding="utf-8")))
    ids = {"bos": vocab - 2, "eos": vocab - 1, "pad": vocab - 1}
    parts = {
        "unet": UNet(UNetConfig((32, 64), (False, True), (1, 2), 1, context_dim=32, groups=16, sample_size=16)),
        "vae": AutoencoderKL(VAEConfig((16, 32), 1, groups=8, mid_attention=False, scaling_factor=1.0, sample_size=32)),
        "text_encoder": TextEncoder(TextConfig(vocab, 32, 2, 2, 64, **ids)),
    }
    for name, network in parts.items():
        jostle(network)
        write_component(folder, name, network.config.to_json(), network.state_dict())
    write_index(folder)
    return folder
