"""A model folder with all its extras, so small that it is written and loaded in a moment: random weights, 32-pixel pictures."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from core.nets.classifier import NoisyClassifier
from core.nets.clip import Clip, TextEncoder
from core.nets.configs import ClassifierConfig, TextConfig, UNetConfig, VAEConfig, VisionConfig
from core.nets.tokenizer import train_tokenizer
from core.nets.unet import UNet
from core.nets.vae import AutoencoderKL
from core.training.export import write_component, write_index

GROUPS, SUBGROUPS = ("animals-nature", "food-drink"), ("animal-mammal", "animal-bug", "food-fruit")
COUNT = 12  # training pictures


def write_tiny(folder: Path) -> Path:
    """Write the networks and every extra; a test removes what it wants to be missing."""
    torch.manual_seed(5)
    train_tokenizer((f"a {colour} {thing}" for colour in ("red", "blue") for thing in ("cat", "apple")), 600, folder / "tokenizer")
    vocab = len(json.loads((folder / "tokenizer" / "vocab.json").read_text(encoding="utf-8")))
    text = TextConfig(vocab, 32, 1, 2, 64, 77, projection=16, bos=vocab - 2, eos=vocab - 1, pad=vocab - 1)
    vision = VisionConfig(16, 8, 32, 1, 2, 64, projection=16)
    clip = jostled(Clip(text, vision))
    unet = UNet(UNetConfig((16, 32), (False, True), (1, 2), 1, context_dim=32, groups=8, sample_size=16))
    vae = AutoencoderKL(VAEConfig((16, 16), 1, groups=8, mid_attention=False, scaling_factor=1.0, sample_size=32))
    judge = NoisyClassifier(ClassifierConfig((16, 16), classes=GROUPS, subclasses=SUBGROUPS))
    encoder = TextEncoder(text)
    encoder.text_model = clip.text_model
    for name, network in {"unet": unet, "vae": vae, "classifier": judge}.items():
        write_component(folder, name, network.config.to_json(), jostled(network).state_dict())
    write_component(folder, "text_encoder", text.to_json(), encoder.state_dict())
    rest = {name: value for name, value in clip.state_dict().items() if not name.startswith("text_model.")}
    write_component(folder, "clip", vision.to_json(), rest)
    save_file({"latents": torch.randn(COUNT, 4, 16, 16).half()}, folder / "latents.safetensors")
    lines = [json.dumps(origin(i)) for i in range(COUNT)]
    (folder / "provenance.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_index(folder)
    return folder


def origin(i: int) -> dict[str, object]:
    """The provenance of training picture i."""
    label, style = ("red cat", "blue apple")[i % 2], ("flat", "minimal")[i // 2 % 2]
    names = {"hexcode": f"1F{i:03X}", "label": label, "source": ("flat", "twemoji")[i // 2 % 2], "style": style, "name": f"n{i}"}
    return names | {"index": i, "package": "p", "version": "1.0", "licence": "MIT", "sha256": "0"}


@torch.no_grad()
def jostled(network: nn.Module) -> nn.Module:
    """The network with every parameter moved off its initial value."""
    for parameter in network.parameters():
        parameter += 0.05 * torch.randn_like(parameter)
    return network
