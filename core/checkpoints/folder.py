"""The diffusers layout: model_index.json, and a folder with a config and weights for each network.

Nothing in a folder is taken on trust: classes come from a short list, numbers in configs have limits (nothing is
allocated by then), names in a sharded index stay inside the folder, links do not lead out of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from core.checkpoints.detect import SUPPORTED, check_inputs
from core.checkpoints.read import MOST_TENSORS, PICKLE, Entry, Header, read_header, show
from core.errors import UserError
from core.files import read_json
from core.nets.configs import TextConfig, UNetConfig, VAEConfig

NETWORKS = {
    "unet": ("UNet2DConditionModel", UNetConfig),
    "vae": ("AutoencoderKL", VAEConfig),
    "text_encoder": ("CLIPTextModel", TextConfig),
}
PIPELINES = ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline")
KINDS = (
    ("XL", "an SDXL model"), ("StableDiffusion3", "a Stable Diffusion 3 model"), ("Flux", "a Flux model"),
    ("Inpaint", "an inpainting model"), ("Pix2Pix", "an InstructPix2Pix model"), ("ControlNet", "a ControlNet"),
    ("Depth", "a depth-to-image model"), ("Upscale", "an upscaler"), ("UnCLIP", "an unCLIP model"),
)  # fmt: skip
STEMS = ("diffusion_pytorch_model", "model")  # diffusers' and transformers' name of a weights file
# The largest number in a config's field that some real model could have, with room to spare.
MOST = {"layers": 8, "heads": 1024, "groups": 1024}
MOST_TEXT = {"layers": 64, "heads": 1024, "vocab": 1_000_000, "mlp": 65_536}
MOST_ELSE, MOST_LEVELS = 16_384, 8
IDS = ("bos", "eos", "pad")  # the tokenizer's are used instead

_ORIGINAL = "use the file that came with the weights"

Config = UNetConfig | VAEConfig | TextConfig


@dataclass(frozen=True)
class Part:
    """One network of a folder: its config and where its weights are."""

    config: Any
    entries: dict[str, Entry]
    file: Path  # the (first) weights file


def read_index(root: Path) -> dict[str, Any]:
    """The folder's model_index.json; a UserError that names any pipeline other than Stable Diffusion's."""
    if not (root / "model_index.json").exists():
        singles = sorted(path.name for path in root.glob("*.safetensors"))
        hint = f"; name the file {show(singles[0])} in it instead" if singles else ": name the folder that has one"
        raise UserError(f"{root.name}/ is no model folder (it has no model_index.json){hint}.")
    index = read_json(inside(root, root / "model_index.json"))
    pipeline = str(index.get("_class_name"))
    if pipeline not in PIPELINES:
        kind = next((kind for part, kind in KINDS if part in pipeline), f"a pipeline of the class {show(pipeline)}")
        raise UserError(f"{root.name}/ holds {kind}. {SUPPORTED}.")
    for name, (network, _) in NETWORKS.items():
        if name not in index:
            raise UserError(f"{root.name}/model_index.json names no {name}: use a complete Stable Diffusion folder.")
        said = index[name][-1:] if isinstance(index[name], list) else []
        _check_class(f"{root.name}/model_index.json", name, said, network)
    return index


def read_part(root: Path, name: str) -> Part:
    """Config and headers of the weights of one network: "unet", "vae" or "text_encoder"."""
    folder = root / name
    network, kind = NETWORKS[name]
    data = read_json(inside(root, folder / "config.json"))
    said = data.get("architectures") if name == "text_encoder" else data.get("_class_name", network)
    _check_class(f"{name}/config.json", name, said if isinstance(said, list) else [said or network], network)
    if name == "unet" and isinstance(data.get("in_channels"), int):
        check_inputs(f"{root.name}/", data["in_channels"])
    config = config_of(kind, data, name)
    headers = [read_header(inside(root, path)) for path in weight_files(root, folder)]
    return Part(config, _merged(headers, name), headers[0].path)


def config_of(kind: type[Config], data: dict[str, Any], name: str) -> Config:
    """A network's config from its JSON, with every number inside what some real model could have."""
    try:
        config = kind.from_json(data | {"sample_size": _side(data.get("sample_size"))})
    except UserError:
        raise
    except Exception as error:  # a file may hold anything where a number should stand
        raise UserError(f"{name}/config.json describes no network that can be built: {_ORIGINAL}.") from error
    for field in fields(config):
        value = getattr(config, field.name)
        most = (MOST_TEXT if kind is TextConfig else MOST).get(field.name, MOST_ELSE)
        if not _sane(value, field.default, math.inf if field.name in IDS else most):
            said = f"{kind._KEYS[field.name]} = {show(str(value))}"
            raise UserError(f"{name}/config.json says {said}, which no such network has: {_ORIGINAL}.")
    return config


def _side(size: Any) -> Any:
    """The side a network was trained at; some configs give height and width."""
    return size[0] if isinstance(size, list) and size else size


def _sane(value: Any, like: Any, most: float) -> bool:
    """Whether a value is of the kind of a field's default and no larger than any model has it."""
    if isinstance(like, tuple):
        return isinstance(value, tuple) and len(value) <= MOST_LEVELS and all(_sane(v, like[0], most) for v in value)
    if isinstance(like, bool | str):
        return type(value) is type(like)
    if isinstance(like, float):
        return type(value) in (int, float) and math.isfinite(value) and 0 < value < 1e6
    return type(value) is int and (most == math.inf or 0 < value <= most)


def weight_files(root: Path, folder: Path) -> list[Path]:
    """The .safetensors files that hold a network: one, its fp16 variant, or the shards that an index lists."""
    for stem in STEMS:
        for ending in ("safetensors", "fp16.safetensors"):
            if (folder / f"{stem}.{ending}").exists():
                return [folder / f"{stem}.{ending}"]
            for index in (f"{stem}.{ending}.index.json", f"{stem}.{ending.removeprefix('fp16.')}.index.fp16.json"):
                if ("fp16" in index) == ("fp16" in ending) and (folder / index).exists():
                    return _shards(root, folder, folder / index)
    pickles = [path.name for path in sorted(folder.glob("*")) if path.suffix in (".bin", ".ckpt", ".pt", ".pth")]
    if pickles:
        raise UserError(f"{folder.name}/{pickles[0]} {PICKLE}.")
    raise UserError(f"{folder.name}/ holds no weights (no {STEMS[0]}.safetensors): copy the whole folder of the model.")


def _shards(root: Path, folder: Path, index: Path) -> list[Path]:
    table = read_json(inside(root, index), most_bytes=10_000_000).get("weight_map")
    if not isinstance(table, dict) or not table or len(table) > MOST_TENSORS:
        raise UserError(f"{folder.name}/{index.name} lists no weights: copy the whole folder of the model.")
    files = []
    for name in dict.fromkeys(map(str, table.values())):
        if name != Path(name).name or not name.endswith(".safetensors") or "\\" in name:
            where = f"{folder.name}/{index.name} names the weights file {show(name)}, which is not in its folder"
            raise UserError(f"{where}: a damaged or hostile index; download the model again.")
        if not (folder / name).is_file():
            raise UserError(f"{folder.name}/{name} is missing: copy the whole folder of the model.")
        files.append(folder / name)
    return files


def _merged(headers: list[Header], name: str) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for header in headers:
        for tensor, entry in header.tensors.items():
            if tensor in entries:
                raise UserError(f"{name}/ holds {show(tensor)} in two of its files: download the model again.")
            entries[tensor] = entry
    return entries


def inside(root: Path, path: Path) -> Path:
    """The path itself, if its links stay in the model's folder; those of the hub's cache may lead to its blobs.

    Raises UserError for a link that leads elsewhere.
    """
    try:
        home = root.resolve()
        homes = [home, home.parent.parent / "blobs"] if home.parent.name == "snapshots" else [home]
        stays = any(path.resolve().is_relative_to(home) for home in homes)
    except (OSError, RuntimeError):  # links in a circle
        stays = False
    if not stays:
        raise UserError(f"{path.parent.name}/{path.name} is a link out of the model's folder: put the file itself there.")
    return path


def _check_class(where: str, name: str, said: Any, wanted: str) -> None:
    if said != [wanted]:
        text = str(said[0]) if isinstance(said, list) and said else "nothing"
        raise UserError(f"{where} gives {show(text)} as the class of {name} instead of {wanted}. {SUPPORTED}.")
