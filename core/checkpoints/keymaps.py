"""Where each parameter of a network stands in a file: one table, expanded before any weight is read.

Our parameter names are those of the diffusers layout, so its folders load by identity. The original single file (the
LDM layout) numbers its blocks in the order they run and holds all networks under prefixes; SD 2's text tower is
OpenCLIP's, with the three attention matrices in one. A row of the table says

    (where, source, targets, operation)     operation: rename | split (in three along side 0) | squeeze (drop 1×1)

`where` names the counters that fill the braces of source and targets. `expand` turns the table into candidates for
every parameter of the model; `resolve` finds for each exactly one in the file, of the right shape, or says what is
wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from core.checkpoints.read import Entry, show
from core.errors import UserError
from core.nets.configs import TextConfig, UNetConfig, VAEConfig


class Row(NamedTuple):
    """One line of the table; sources and targets are module or parameter names."""

    where: str
    source: str
    targets: str  # space-separated: three where the operation splits
    operation: str = "rename"


UNET, VAE = "model.diffusion_model.", "first_stage_model."
CLIP, OPENCLIP = "cond_stage_model.transformer.", "cond_stage_model.model."
COMPLETE = "Use a complete Stable Diffusion 1.x or 2.x checkpoint"

UNET_ROWS = (
    Row("once", "time_embed.0", "time_embedding.linear_1"),
    Row("once", "time_embed.2", "time_embedding.linear_2"),
    Row("once", "input_blocks.0.0", "conv_in"),
    Row("down resnet", "input_blocks.{n}.0.{old}", "down_blocks.{i}.resnets.{j}.{new}"),
    Row("down", "input_blocks.{n}.1", "down_blocks.{i}.attentions.{j}"),
    Row("halve", "input_blocks.{n}.0.op", "down_blocks.{i}.downsamplers.0.conv"),
    Row("resnet", "middle_block.0.{old}", "mid_block.resnets.0.{new}"),
    Row("once", "middle_block.1", "mid_block.attentions.0"),
    Row("resnet", "middle_block.2.{old}", "mid_block.resnets.1.{new}"),
    Row("up resnet", "output_blocks.{n}.0.{old}", "up_blocks.{i}.resnets.{j}.{new}"),
    Row("up", "output_blocks.{n}.1", "up_blocks.{i}.attentions.{j}"),
    Row("double", "output_blocks.{n}.{last}.conv", "up_blocks.{i}.upsamplers.0.conv"),
    Row("once", "out.0", "conv_norm_out"),
    Row("once", "out.2", "conv_out"),
)
VAE_ROWS = (
    Row("side", "{side}.conv_in", "{side}.conv_in"),
    Row("down resnet", "encoder.down.{i}.block.{j}.{old}", "encoder.down_blocks.{i}.resnets.{j}.{new}"),
    Row("halve", "encoder.down.{i}.downsample.conv", "encoder.down_blocks.{i}.downsamplers.0.conv"),
    Row("up resnet", "decoder.up.{back}.block.{j}.{old}", "decoder.up_blocks.{i}.resnets.{j}.{new}"),
    Row("double", "decoder.up.{back}.upsample.conv", "decoder.up_blocks.{i}.upsamplers.0.conv"),
    Row("side resnet", "{side}.mid.block_1.{old}", "{side}.mid_block.resnets.0.{new}"),
    Row("side resnet", "{side}.mid.block_2.{old}", "{side}.mid_block.resnets.1.{new}"),
    Row("side", "{side}.mid.attn_1.norm", "{side}.mid_block.attentions.0.group_norm"),
    Row("side part", "{side}.mid.attn_1.{old}", "{side}.mid_block.attentions.0.{new}", "squeeze"),
    Row("side", "{side}.norm_out", "{side}.conv_norm_out"),
    Row("side", "{side}.conv_out", "{side}.conv_out"),
    Row("once", "quant_conv", "quant_conv"),
    Row("once", "post_quant_conv", "post_quant_conv"),
)
IDENTITY = (Row("once", "", ""),)
VAE_FOLDER_ROWS = (  # a folder's VAE by identity, and the names that diffusers gave its attention before 0.15
    *IDENTITY,
    Row("side old part", "{side}.mid_block.attentions.0.{old}", "{side}.mid_block.attentions.0.{new}", "squeeze"),
)
CLIP_ROWS = (  # the names of transformers 4, and those without the first part (transformers 5; some old single files)
    *IDENTITY,
    Row("once", "embeddings", "text_model.embeddings"),
    Row("once", "encoder", "text_model.encoder"),
    Row("once", "final_layer_norm", "text_model.final_layer_norm"),
)
_LAYER, _BLOCK = "text_model.encoder.layers.{i}.", "transformer.resblocks.{i}."
_THREE = " ".join(_LAYER + f"self_attn.{x}_proj." for x in "qkv")
OPENCLIP_ROWS = (
    Row("once", "token_embedding", "text_model.embeddings.token_embedding"),
    Row("once", "positional_embedding", "text_model.embeddings.position_embedding.weight"),
    Row("layer", _BLOCK + "ln_1", _LAYER + "layer_norm1"),
    Row("layer", _BLOCK + "attn.in_proj_weight", _THREE.replace("proj.", "proj.weight"), "split"),
    Row("layer", _BLOCK + "attn.in_proj_bias", _THREE.replace("proj.", "proj.bias"), "split"),
    Row("layer", _BLOCK + "attn.out_proj", _LAYER + "self_attn.out_proj"),
    Row("layer", _BLOCK + "ln_2", _LAYER + "layer_norm2"),
    Row("layer", _BLOCK + "mlp.c_fc", _LAYER + "mlp.fc1"),
    Row("layer", _BLOCK + "mlp.c_proj", _LAYER + "mlp.fc2"),
    Row("once", "ln_final", "text_model.final_layer_norm"),
)
_RESNET = {
    "in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2", "out_layers.3": "conv2", "skip_connection": "conv_shortcut",
}  # fmt: skip
_VAE_RESNET = {name: name for name in ("norm1", "conv1", "norm2", "conv2")} | {"nin_shortcut": "conv_shortcut"}
_VAE_PART = {"q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
_VAE_OLD_PART = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}

Counters = dict[str, list[dict[str, Any]]]
ONCE: Counters = {"once": [{}]}


class Table(NamedTuple):
    """Rows with the numbers that fill them and the prefix of their sources."""

    rows: tuple[Row, ...]
    counters: Counters
    prefix: str = ""


def folder_table(config: UNetConfig | VAEConfig | TextConfig) -> Table:
    """Where a network's parameters stand in its own folder."""
    if isinstance(config, VAEConfig):
        return Table(VAE_FOLDER_ROWS, vae_counters(config))
    return Table(CLIP_ROWS if isinstance(config, TextConfig) else IDENTITY, ONCE)


def file_table(config: UNetConfig | VAEConfig | TextConfig, generation: int) -> Table:
    """Where a network's parameters stand in a single file of Stable Diffusion 1 or 2."""
    if isinstance(config, UNetConfig):
        return Table(UNET_ROWS, unet_counters(config), UNET)
    if isinstance(config, VAEConfig):
        return Table(VAE_ROWS, vae_counters(config), VAE)
    if generation == 1:
        return Table(CLIP_ROWS, ONCE, CLIP)
    return Table(OPENCLIP_ROWS, ONCE | {"layer": [{"i": i} for i in range(config.layers)]}, OPENCLIP)


def unet_counters(config: UNetConfig) -> Counters:
    """The numbers that the LDM layout gives to each block of this U-Net."""
    top, layers = len(config.channels) - 1, config.layers
    down = [{"n": 1 + i * (layers + 1) + j, "i": i, "j": j} for i in range(top + 1) for j in range(layers)]
    up = [{"n": i * (layers + 1) + j, "i": i, "j": j} for i in range(top + 1) for j in range(layers + 1)]
    # The convolution after an upsampling is the last member of its block: third where the block attends.
    double = [{"n": (i + 1) * (layers + 1) - 1, "i": i, "last": 1 + config.attends[top - i]} for i in range(top)]
    return ONCE | {
        "resnet": _pairs(_RESNET), "down": down, "up": up, "double": double,
        "down resnet": _times(down, _pairs(_RESNET)), "up resnet": _times(up, _pairs(_RESNET)),
        "halve": [{"n": (i + 1) * (layers + 1), "i": i} for i in range(top)],
    }  # fmt: skip


def vae_counters(config: VAEConfig) -> Counters:
    """As `unet_counters`, for the autoencoder; its decoder counts its levels from the end."""
    top, layers = len(config.channels) - 1, config.layers
    side = [{"side": "encoder"}, {"side": "decoder"}]
    down = [{"i": i, "j": j} for i in range(top + 1) for j in range(layers)]
    up = [{"i": i, "back": top - i, "j": j} for i in range(top + 1) for j in range(layers + 1)]
    return ONCE | {
        "side": side, "side resnet": _times(side, _pairs(_VAE_RESNET)), "side part": _times(side, _pairs(_VAE_PART)),
        "side old part": _times(side, _pairs(_VAE_OLD_PART)),
        "down resnet": _times(down, _pairs(_VAE_RESNET)), "up resnet": _times(up, _pairs(_VAE_RESNET)),
        "halve": [{"i": i} for i in range(top)], "double": [{"i": i, "back": top - i} for i in range(top)],
    }  # fmt: skip


def _pairs(table: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"old": old, "new": new} for old, new in table.items()]


def _times(a: list[dict[str, Any]], b: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [x | y for x in a for y in b]


class Source(NamedTuple):
    """One candidate for a parameter: a tensor's name in the file, what to do with it, which third of it."""

    name: str
    operation: str
    part: int = 0

    def shapes(self, target: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """The shapes that the tensor may have in the file for the parameter to have the shape `target`."""
        if self.operation == "split":
            return ((3 * target[0], *target[1:]),)
        if self.operation == "squeeze" and len(target) == 2:
            return target, (*target, 1, 1)
        return (target,)

    def take(self, tensor: Tensor) -> Tensor:
        """The parameter, from the tensor in the file."""
        if self.operation == "split":
            return tensor.chunk(3)[self.part].clone()  # three parameters that share no memory
        return tensor.flatten(1) if self.operation == "squeeze" and tensor.ndim == 4 else tensor


def expand(table: Table, targets: Iterable[str]) -> dict[str, list[Source]]:
    """For each parameter name of `targets`, every place of a file where the table says that it may stand."""
    found: dict[str, list[Source]] = {}
    modules: dict[str, list[tuple[str, str, int]]] = {}
    for row in table.rows:
        for values in table.counters[row.where]:
            source = table.prefix + row.source.format(**values)
            for part, target in enumerate(row.targets.format(**values).split(" ")):
                modules.setdefault(target, []).append((source, row.operation, part))
    for name in targets:
        found[name] = []
        parts = name.split(".")
        for k in range(len(parts) + 1):  # the module that a row names is the parameter itself or any of its parents
            rest = parts[k:]
            for source, operation, part in modules.get(".".join(parts[:k]), []):
                joined = ".".join([source.rstrip("."), *rest] if source else rest)
                found[name].append(Source(joined, operation, part))
    return found


def resolve(
    what: str, model: nn.Module, candidates: Mapping[str, list[Source]], entries: Mapping[str, Entry], advice: str = COMPLETE
) -> dict[str, Source]:
    """Exactly one source for every parameter of the (meta-device) model, of the right shape.

    Raises UserError naming the first five parameters that are missing, stand twice or have another shape.
    """
    plan: dict[str, Source] = {}
    missing, twice, wrong = [], [], []
    for name, tensor in model.state_dict().items():
        there = [source for source in candidates[name] if source.name in entries]
        if not there:
            missing.append(candidates[name][0].name if candidates[name] else name)
        elif len(there) > 1:
            twice.append(" and ".join(source.name for source in there))
        else:
            plan[name] = there[0]
            shape, target = entries[there[0].name].shape, tuple(tensor.shape)
            if shape not in there[0].shapes(target):
                wrong.append(f"{there[0].name} {_sides(shape)} instead of {_sides(there[0].shapes(target)[0])}")
    faults = ((missing, "lacks {}"), (twice, "holds {} twice"), (wrong, "has {} in another shape"))
    for names, fault in faults:
        if names:
            count = fault.format(f"{len(names)} of its {len(candidates)} weights")
            raise UserError(f"The {what} {count}: {first(names)}. {advice}.")
    return plan


def first(names: list[str], count: int = 5) -> str:
    """The first few names and how many more there are."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(show(name) for name in names[:count]) + more


def _sides(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "one number"
