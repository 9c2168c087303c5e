"""Frozen descriptions of the networks: one set of classes, other numbers, for every model we know.

Each class reads the `config.json` of its component in the ecosystem's layout (`from_json`), writes it back (`to_json`), and
refuses what the network does not build. Field names are ours; the tables `_KEYS` say what each is called outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

from core.errors import UserError


class _Config:
    """What the five classes share: translation from and to the ecosystem's keys."""

    _KEYS: ClassVar[Mapping[str, str]]  # our field -> the ecosystem's key
    _ONLY: ClassVar[Mapping[str, tuple[Any, ...]]]  # key -> the only values this network builds
    _WRITES: ClassVar[Mapping[str, Any]]  # constants added to the written file

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read a component's config.json; keys that change nothing are ignored, those we cannot build are refused."""
        for key, allowed in cls._ONLY.items():
            if key in data and data[key] not in allowed:
                raise UserError(
                    f"config.json says {key} = {data[key]!r}, which this network does not build "
                    f"(it builds {allowed[0]!r}): use a Stable Diffusion 1.x or 2.x checkpoint."
                )
        values: dict[str, Any] = {}
        for field in fields(cls):  # type: ignore[arg-type]
            key = cls._KEYS[field.name]
            if data.get(key) is not None:
                value = data[key]
                values[field.name] = tuple(value) if isinstance(value, list) else value
        return cls(**cls._fix(values, data))

    @classmethod
    def _fix(cls, values: dict[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
        return values

    def to_json(self) -> dict[str, Any]:
        """The same configuration under the ecosystem's keys."""
        values = {self._KEYS[f.name]: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()} | dict(self._WRITES)


def _check(condition: bool, sentence: str) -> None:
    if not condition:
        raise UserError(sentence)


@dataclass(frozen=True)
class UNetConfig(_Config):
    """The U-Net with cross-attention of Stable Diffusion 1.x and 2.x (2112.10752)."""

    channels: tuple[int, ...] = (320, 640, 1280, 1280)  # width of each level, finest first
    attends: tuple[bool, ...] = (True, True, True, False)  # which levels hold transformers
    heads: tuple[int, ...] = (8, 8, 8, 8)  # attention heads of each level
    layers: int = 2  # resnets a level on the way down; one more on the way up
    context_dim: int = 768  # D of the text states
    in_channels: int = 4
    out_channels: int = 4
    groups: int = 32  # GroupNorm
    eps: float = 1e-5
    linear_projection: bool = False  # SD 2: the transformer's way in and out is linear, not a 1×1 convolution
    sample_size: int = 64  # the side it was trained at

    _KEYS: ClassVar = {
        "channels": "block_out_channels", "attends": "down_block_types", "heads": "attention_head_dim",
        "layers": "layers_per_block", "context_dim": "cross_attention_dim", "in_channels": "in_channels",
        "out_channels": "out_channels", "groups": "norm_num_groups", "eps": "norm_eps",
        "linear_projection": "use_linear_projection", "sample_size": "sample_size",
    }  # fmt: skip
    _ONLY: ClassVar = {
        "class_embed_type": (None,), "num_class_embeds": (None,), "addition_embed_type": (None,),
        "encoder_hid_dim": (None,), "encoder_hid_dim_type": (None,), "time_cond_proj_dim": (None,),
        "only_cross_attention": (False,), "dual_cross_attention": (False,), "transformer_layers_per_block": (1, [1]),
        "resnet_time_scale_shift": ("default",), "time_embedding_type": ("positional",),
        "mid_block_type": ("UNetMidBlock2DCrossAttn", None), "act_fn": ("silu",), "flip_sin_to_cos": (True,),
        "freq_shift": (0,), "center_input_sample": (False,), "conv_in_kernel": (3,), "conv_out_kernel": (3,),
        "downsample_padding": (1,), "mid_block_scale_factor": (1, 1.0), "num_attention_heads": (None,),
    }  # fmt: skip
    _WRITES: ClassVar = {
        "_class_name": "UNet2DConditionModel", "_diffusers_version": "0.30.0", "act_fn": "silu",
        "flip_sin_to_cos": True, "freq_shift": 0, "center_input_sample": False, "downsample_padding": 1,
        "mid_block_scale_factor": 1,
    }  # fmt: skip

    def __post_init__(self) -> None:
        _check(len(self.channels) == len(self.attends) == len(self.heads) >= 1,
               "The U-Net's config.json lists levels of different lengths: use the file that came with the weights.")  # fmt: skip
        _check(all(c % self.groups == 0 and c % h == 0 for c, h in zip(self.channels, self.heads, strict=True)),
               "The U-Net's channels are no multiple of its groups and heads: use the file of these weights.")  # fmt: skip

    @classmethod
    def _fix(cls, values: dict[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
        kinds = {"CrossAttnDownBlock2D": True, "DownBlock2D": False}
        if "attends" in values:
            for kind in values["attends"]:
                _check(kind in kinds, f"The U-Net has a block of kind {str(kind)[:60]!r}, which is not supported: "
                                      "use a Stable Diffusion 1.x or 2.x checkpoint.")  # fmt: skip
            values["attends"] = tuple(kinds[kind] for kind in values["attends"])
        levels = len(values.get("channels", cls.channels))
        if isinstance(values.get("heads"), int):
            values["heads"] = (values["heads"],) * levels
        return values

    def to_json(self) -> dict[str, Any]:
        down = ["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in self.attends]
        up = ["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(self.attends)]
        return super().to_json() | {"down_block_types": down, "up_block_types": up}


@dataclass(frozen=True)
class VAEConfig(_Config):
    """The autoencoder with a Gaussian posterior of latent diffusion (2112.10752)."""

    channels: tuple[int, ...] = (128, 256, 512, 512)
    layers: int = 2  # resnets a level in the encoder; one more in the decoder
    latent_channels: int = 4
    image_channels: int = 3
    groups: int = 32
    mid_attention: bool = True
    scaling_factor: float = 0.18215  # latents in core are always scaled: z = scaling_factor · mean
    sample_size: int = 512

    _KEYS: ClassVar = {
        "channels": "block_out_channels", "layers": "layers_per_block", "latent_channels": "latent_channels",
        "image_channels": "in_channels", "groups": "norm_num_groups", "mid_attention": "mid_block_add_attention",
        "scaling_factor": "scaling_factor", "sample_size": "sample_size",
    }  # fmt: skip
    _ONLY: ClassVar = {
        "act_fn": ("silu",), "use_quant_conv": (True,), "use_post_quant_conv": (True,), "shift_factor": (None,),
        "latents_mean": (None,), "latents_std": (None,),
    }  # fmt: skip
    _WRITES: ClassVar = {
        "_class_name": "AutoencoderKL", "_diffusers_version": "0.30.0", "act_fn": "silu", "out_channels": 3,
        "force_upcast": False,
    }  # fmt: skip

    def __post_init__(self) -> None:
        _check(all(c % self.groups == 0 for c in self.channels),
               "The VAE's channels are no multiple of its groups: use the config.json that came with the weights.")  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        n = len(self.channels)
        blocks = {"down_block_types": ["DownEncoderBlock2D"] * n, "up_block_types": ["UpDecoderBlock2D"] * n}
        return super().to_json() | blocks


@dataclass(frozen=True)
class TextConfig(_Config):
    """CLIP's causal text transformer (2103.00020)."""

    vocab: int = 49408
    width: int = 768
    layers: int = 12
    heads: int = 12
    mlp: int = 3072
    length: int = 77
    activation: str = "quick_gelu"
    eps: float = 1e-5
    projection: int = 768  # only a Clip projects; a pipeline's text encoder hands out its states
    bos: int = 49406
    eos: int = 49407
    pad: int = 49407

    _KEYS: ClassVar = {
        "vocab": "vocab_size", "width": "hidden_size", "layers": "num_hidden_layers", "heads": "num_attention_heads",
        "mlp": "intermediate_size", "length": "max_position_embeddings", "activation": "hidden_act",
        "eps": "layer_norm_eps", "projection": "projection_dim", "bos": "bos_token_id", "eos": "eos_token_id",
        "pad": "pad_token_id",
    }  # fmt: skip
    _ONLY: ClassVar = {"hidden_act": ("quick_gelu", "gelu")}
    _WRITES: ClassVar = {"architectures": ["CLIPTextModel"], "model_type": "clip_text_model", "torch_dtype": "float32"}


@dataclass(frozen=True)
class VisionConfig(_Config):
    """CLIP's image transformer (2103.00020)."""

    size: int = 224
    patch: int = 14
    width: int = 1024
    layers: int = 24
    heads: int = 16
    mlp: int = 4096
    activation: str = "quick_gelu"
    eps: float = 1e-5
    projection: int = 768

    _KEYS: ClassVar = {
        "size": "image_size", "patch": "patch_size", "width": "hidden_size", "layers": "num_hidden_layers",
        "heads": "num_attention_heads", "mlp": "intermediate_size", "activation": "hidden_act",
        "eps": "layer_norm_eps", "projection": "projection_dim",
    }  # fmt: skip
    _ONLY: ClassVar = {"hidden_act": ("quick_gelu", "gelu"), "num_channels": (3,)}
    _WRITES: ClassVar = {
        "architectures": ["CLIPVisionModelWithProjection"], "model_type": "clip_vision_model", "num_channels": 3,
    }  # fmt: skip


@dataclass(frozen=True)
class ClassifierConfig(_Config):
    """A classifier of noisy latents, told t, with one head for each of two label sets."""

    channels: tuple[int, ...] = (64, 128, 192)
    in_channels: int = 4
    layers: int = 1
    groups: int = 8
    eps: float = 1e-5
    classes: tuple[str, ...] = ()  # names of the coarse labels (group)
    subclasses: tuple[str, ...] = ()  # names of the fine labels (subgroup)

    _KEYS: ClassVar = {
        "channels": "block_out_channels", "in_channels": "in_channels", "layers": "layers_per_block",
        "groups": "norm_num_groups", "eps": "norm_eps", "classes": "classes", "subclasses": "subclasses",
    }  # fmt: skip
    _ONLY: ClassVar = {}
    _WRITES: ClassVar = {"_class_name": "NoisyLatentClassifier"}


SD1_UNET = UNetConfig()
SD2_UNET = UNetConfig(heads=(5, 10, 20, 20), context_dim=1024, linear_projection=True, sample_size=96)
SD_VAE = VAEConfig()
CLIP_L_TEXT = TextConfig()
OPENCLIP_H_TEXT = TextConfig(width=1024, layers=23, heads=16, mlp=4096, activation="gelu", projection=512, pad=0)
