"""The function behind `/models`: what is loaded, and everything that may be chosen with it."""

# No `from __future__ import annotations`: Gradio reads the types of the endpoint as objects.
from collections.abc import Callable
from typing import Any

from core.extras import names_of
from core.pipeline import TextToImage
from core.recipe import BUDGET
from core.sampling import SAMPLERS, Sampler
from core.schedules import SCHEDULES, SPACINGS
from studio.service.engine import Engine


def endpoint(engine: Engine) -> Callable[..., Any]:
    """The function behind `/models`."""

    def models() -> dict:
        """Tell which diffusion model is loaded, how large it is, and what samplers, schedules, spacings and words it knows.

        Returns:
            The model's name, hash, device and number format; its picture size, latent shape, factor and parameters; what its
            network predicts and the schedule it was trained with; all samplers with their knobs, schedules and spacings; the
            names and words it was trained on, where they are known; how much may be asked for at once.
        """
        return described(engine.pipe)

    return models


def described(pipe: TextToImage) -> dict[str, Any]:
    """A loaded model as a table that JSON can hold."""
    unet, factor = pipe.unet.config, pipe.vae.factor
    side = pipe.size // factor
    return {
        "models": [pipe.name],  # the one that was named when the studio was started: no visitor loads another
        "name": pipe.name, "hash": pipe.hash, "device": pipe.device.type, "dtype": str(pipe.dtype).removeprefix("torch."),
        "width": pipe.size, "height": pipe.size, "multiple_of": factor, "latent": [unet.in_channels, side, side],
        "parameters": {
            part: sum(weight.numel() for weight in getattr(pipe, part).parameters())
            for part in ("unet", "vae", "text_encoder")
        },
        "predicts": pipe.parts.prediction, "tokens": pipe.tokenizer.length,
        "schedule": pipe.schedule.name, "levels": len(pipe.schedule), "spacing": pipe.parts.spacing,
        "samplers": {name: of_sampler(entry) for name, entry in SAMPLERS.items()},
        "schedules": list(SCHEDULES), "spacings": {name: entry.doc for name, entry in SPACINGS.items()},
        "vocabulary": vocabulary(pipe),
        "most": {"steps_x_pixels_x_pictures": BUDGET},
    }  # fmt: skip


def vocabulary(pipe: TextToImage) -> dict[str, list[str]]:
    """The names, styles and colours that the model was trained on, as far as its files tell."""
    given = pipe.extras.vocabulary
    known = {kind: names_of({kind: given.get(kind)}) for kind in ("concepts", "styles", "colours")}
    return known | {"languages": [str(name) for name in given.get("languages", [])]}


def of_sampler(entry: Sampler) -> dict[str, Any]:
    """One sampler as it is registered."""
    return {
        "label": entry.label, "about": entry.doc, "order": entry.order, "stochastic": entry.stochastic, "paper": entry.paper,
        "calls_a_step": entry.calls, "ends": entry.end,
        "knobs": {knob.name: {"low": knob.low, "high": knob.high, "default": knob.default} for knob in entry.knobs},
    }  # fmt: skip
