"""The settings that ComfyUI, InvokeAI and Fooocus leave in their pictures, as fields of a Recipe.

Each reader takes the text chunks of a file and gives (program, fields, notes), or None where that program did not write
it. What it cannot express here it says in a note; values are not checked, that is Recipe's work. The chunks come from
strangers: they are parsed with limits, never trusted to have the shape they should.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from core.sampling import SAMPLERS
from studio.formats.infotext import parse, sampler_id, spacing_id

Found = tuple[str, dict[str, Any], list[str]]
MOST_JSON, MOST_NODES = 4_000_000, 2_000

COMFY_SPACINGS = {
    "normal": "linspace", "karras": "karras", "exponential": "exponential", "sgm_uniform": "trailing",
    "simple": "trailing", "ddim_uniform": "leading",
}  # fmt: skip
COMFY_SAMPLERS = ("KSampler", "KSamplerAdvanced")
COMFY_KNOWN = {
    *COMFY_SAMPLERS, "CLIPTextEncode", "CheckpointLoaderSimple", "EmptyLatentImage", "VAEDecode", "VAELoader",
    "SaveImage", "PreviewImage", "KSamplerSelect",
}  # fmt: skip
INVOKE_SAMPLERS = {
    "euler": "euler", "euler_a": "euler_ancestral", "ddim": "ddim", "ddpm": "ddpm", "heun": "heun", "lms": "lms",
    "dpmpp_2m": "dpmpp_2m", "dpmpp_2m_sde": "dpmpp_2m_sde", "unipc": "uni_pc",
}  # fmt: skip

# What AUTOMATIC1111 from version 1.9 on means by the schedule type "Automatic", where that is not its usual one.
AUTOMATIC = {"dpmpp_2m": "karras", "dpmpp_2m_sde": "exponential", "dpm_solver_2": "karras"}

# Each begins at the first of its spaces and holds nothing that could begin another: else a long text takes squared time.
NETWORKS = re.compile(r"(?<!\s)\s*<(?:lora|lyco|hypernet):[^<>]{0,200}>", re.IGNORECASE)
BRACKETS = re.compile(r"(?<!\s)\s*\[([^\[\]]*)\]")


def comfyui(texts: Mapping[str, str]) -> Found | None:
    """ComfyUI writes its graph as `prompt`: the last sampler node that leads to a picture is what counts."""
    graph = _json(texts.get("prompt"))
    if not _is_graph(graph):
        return None
    samplers = [node for node in graph.values() if node["class_type"] in COMFY_SAMPLERS]
    others = sorted({str(node["class_type"])[:40] for node in graph.values()} - COMFY_KNOWN)
    notes = [f"Nodes that have no counterpart here: {', '.join(others[:20])}."] if others else []
    if not samplers:
        return "ComfyUI", {"prompt": ""}, [*notes, "There is no KSampler in the graph, so no settings could be read."]
    if len(samplers) > 1:
        notes.append(f"The graph samples {len(samplers)} times; only the last was read.")
    get = samplers[-1]["inputs"].get
    made: dict[str, Any] = {
        "prompt": _comfy_text(graph, get("positive")),
        "negative": _comfy_text(graph, get("negative")),
        "rng": "cpu",
        **_plain({"steps": get("steps"), "seed": get("seed", get("noise_seed"))}),
    }
    if isinstance(get("cfg"), (int, float)):
        made["gamma"] = round(get("cfg") - 1, 10)
    _choose(made, notes, "sampler", get("sampler_name"), {name: name for name in SAMPLERS} | {"uni_pc_bh2": "uni_pc"})
    _choose(made, notes, "spacing", get("scheduler"), COMFY_SPACINGS)
    for node in _upstream(graph, get("model")):
        if isinstance(node["inputs"].get("ckpt_name"), str):
            made["model"] = node["inputs"]["ckpt_name"]
    for node in _upstream(graph, get("latent_image")):
        if node["class_type"] == "EmptyLatentImage":
            size = node["inputs"]
            made |= _plain({"width": size.get("width"), "height": size.get("height"), "batch": size.get("batch_size")})
    if isinstance(get("denoise"), float) and get("denoise") < 1:
        notes.append(f"It started from a picture (denoise {get('denoise'):g}), which is not in the file.")
    return "ComfyUI", made, notes


def _is_graph(graph: Any) -> bool:
    return (
        isinstance(graph, dict)
        and 0 < len(graph) <= MOST_NODES
        and all(isinstance(node, dict) and "class_type" in node for node in graph.values())
        and all(isinstance(node.get("inputs"), dict) and isinstance(node["class_type"], str) for node in graph.values())
    )


def _upstream(graph: Mapping[str, Any], link: Any) -> Iterator[Mapping[str, Any]]:
    """The node that a link [id, output] comes from, and all before it."""
    seen: set[str] = set()
    waiting = deque([link])
    while waiting:
        link = waiting.popleft()
        if not (isinstance(link, list) and len(link) == 2) or str(link[0]) in seen or str(link[0]) not in graph:
            continue
        seen.add(str(link[0]))
        node = graph[str(link[0])]
        yield node
        waiting += [value for value in node["inputs"].values() if isinstance(value, list)]


def _comfy_text(graph: Mapping[str, Any], link: Any) -> str:
    texts = [node["inputs"].get("text") for node in _upstream(graph, link) if node["class_type"] == "CLIPTextEncode"]
    return next((text for text in texts if isinstance(text, str)), "")


def invokeai(texts: Mapping[str, str]) -> Found | None:
    """InvokeAI writes one JSON object, `invokeai_metadata` (before version 3: `sd-metadata`, with other names)."""
    about = _json(texts.get("invokeai_metadata"))
    if not isinstance(about, dict):
        return _old_invokeai(_json(texts.get("sd-metadata")))
    made: dict[str, Any] = {
        "prompt": _text(about.get("positive_prompt")),
        "negative": _text(about.get("negative_prompt")),
        "rng": "cpu" if about.get("rand_device", "cpu") == "cpu" else "nv",
        **_plain({name: about.get(name) for name in ("steps", "seed", "width", "height")}),
    }
    if isinstance(about.get("cfg_scale"), (int, float)):
        made["gamma"] = round(about["cfg_scale"] - 1, 10)
    model = about.get("model")
    if isinstance(model, dict) and isinstance(model.get("name", model.get("model_name")), str):
        made["model"] = model.get("name", model.get("model_name"))
    notes: list[str] = []
    scheduler = _text(about.get("scheduler"))
    _choose(made, notes, "sampler", scheduler.removesuffix("_k"), INVOKE_SAMPLERS)
    made["spacing"] = "karras" if scheduler.endswith("_k") else "leading"
    used = [name for name in ("loras", "controlnets", "ipAdapters", "t2iAdapters", "refiner_model") if about.get(name)]
    if used:
        notes.append(f"Not understood: {', '.join(used)}.")
    return "InvokeAI", made, notes


def _old_invokeai(about: Any) -> Found | None:
    image = about.get("image") if isinstance(about, dict) else None
    if not isinstance(image, dict):
        return None
    prompt = image.get("prompt")
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], dict):
        prompt = prompt[0].get("prompt")
    words = _text(prompt)
    made: dict[str, Any] = {
        "prompt": BRACKETS.sub("", words),  # this version wrote the negative prompt in brackets
        "negative": " ".join(BRACKETS.findall(words)),
        **_plain({name: image.get(name) for name in ("steps", "seed", "width", "height")}),
    }
    if isinstance(image.get("cfg_scale"), (int, float)):
        made["gamma"] = round(image["cfg_scale"] - 1, 10)
    notes: list[str] = []
    _choose(made, notes, "sampler", _text(image.get("sampler")).removeprefix("k_"), INVOKE_SAMPLERS)
    return "InvokeAI", made, notes


def fooocus(texts: Mapping[str, str]) -> Found | None:
    """Fooocus writes `parameters` as JSON, or as AUTOMATIC1111's text with `fooocus_scheme` beside it."""
    text = texts.get("parameters", "")
    about = _json(text)
    if not isinstance(about, dict):
        values = parse(text)
        if "fooocus_scheme" not in texts and not values.get("Version", "").startswith("Fooocus"):
            return None
        about = {
            "prompt": values["prompt"], "negative_prompt": values["negative"], "sampler": values.get("Sampler"),
            "scheduler": values.get("Schedule type", values.get("Scheduler")), "seed": values.get("Seed"),
            "steps": values.get("Steps"), "guidance_scale": values.get("CFG scale"), "resolution": values.get("Size"),
            "base_model": values.get("Model"), "styles": values.get("Styles"),
        }  # fmt: skip
    made: dict[str, Any] = {"prompt": _text(about.get("prompt")), "negative": _text(about.get("negative_prompt"))}
    made |= {"rng": "cpu"} | _plain({"steps": _number(about.get("steps")), "seed": _number(about.get("seed"))})
    scale, size = _number(about.get("guidance_scale")), re.findall(r"\d{1,5}", str(about.get("resolution") or ""))
    if scale is not None:
        made["gamma"] = round(scale - 1, 10)
    if len(size) == 2:
        made |= {"width": int(size[0]), "height": int(size[1])}
    if isinstance(about.get("base_model"), str):
        made["model"] = about["base_model"]
    notes: list[str] = []
    sampler = _text(about.get("sampler"))
    label, spacing = sampler_id(sampler)
    _choose(made, notes, "sampler", label or sampler.removesuffix("_gpu"), {name: name for name in SAMPLERS})
    scheduler = _text(about.get("scheduler"))
    if spacing or spacing_id(scheduler):
        made["spacing"] = spacing or spacing_id(scheduler)
    else:
        _choose(made, notes, "spacing", scheduler, COMFY_SPACINGS)
    used = [name for name in ("styles", "sharpness", "loras", "performance", "adm_guidance") if about.get(name)]
    if used:
        notes.append(f"Not understood: {', '.join(used)}.")
    return "Fooocus", made, notes


def without_networks(prompt: str) -> tuple[str, list[str]]:
    """A prompt of AUTOMATIC1111's without the networks that it asks for in angle brackets, and these."""
    return NETWORKS.sub("", prompt).strip(), [found.strip()[:60] for found in NETWORKS.findall(prompt)][:20]


def _choose(made: dict[str, Any], notes: list[str], field: str, theirs: Any, table: Mapping[str, str]) -> None:
    """Translate one name, or note that there is none."""
    if isinstance(theirs, str) and theirs in table:
        made[field] = table[theirs]
    elif theirs:
        notes.append(f"The {field} {str(theirs)[:40]!r} does not exist here; the default stands in for it.")


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those that are numbers: a link to another node, or nothing, is not."""
    return {name: value for name, value in values.items() if isinstance(value, (int, float))}


def _number(value: Any) -> float | int | None:
    try:
        return value if isinstance(value, (int, float)) else int(str(value)[:30])
    except ValueError:
        try:
            return float(str(value)[:30])
        except ValueError:
            return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _json(text: str | None) -> Any:
    """Parsed JSON, or None for anything else, however it is wrong."""
    if not text or len(text) > MOST_JSON:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
