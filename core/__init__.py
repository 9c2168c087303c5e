"""Diffusion models from noise to picture, written to be read. Read in this order:

    schedules     how noise grows in training (Schedule) and which levels a run visits (Path)
    prediction    what a network says of a noisy x, whatever it was trained to predict
    noise         random numbers with an address: the same on any device and in any batch
    sampling      the driver of a run, Step by Step, and the registry of samplers
    samplers      every sampler, about ten lines each
    guidance      denoisers made of models: prompts, scales, intervals, inpainting
    toy           exact models: Gaussian mixtures, and the perfect denoiser of a finite data set
    nets          U-Net, VAE, CLIP, tokenizer, classifier, Inception-v3: they know nothing of diffusion
    checkpoints   Stable Diffusion's files, checked and read
    judge         a classifier of noisy latents: how probable a class is, and which way is more so
    extras        what may lie beside the networks: CLIP's image tower, the judge, the training latents
    emphasis      weights in a prompt, `(word:1.3)`, and where they act
    recipe        Recipe: one run described completely
    footprint     what a run needs of memory beside the weights
    pipeline      TextToImage: a Recipe in, pictures out
    tradeoff      error against network calls: races on exact mixtures and on a pipeline, fitted orders
    metrics       Frechet distance, inception score, kernel distance and their kin: functions of feature arrays
    plane         the plane that guidance moves in: eps_0, eps_c and the line through them
    adherence     fidelity against diversity over seeds, with intervals
    observe       one move as the sum of its terms; where the words of a prompt look
    latents       edits, ways between two latents, principal axes, neighbours, and the spectrum of what is lost
    inside        the U-Net as a map, activations and self-attention at a step, and what is lost without a part
    contrast      CLIP's matrix and loss, classification by names, and a tiny CLIP trained while one watches
    between       runs between two noises or two prompts
    costs         numbers, attention and operations of a picture as pixels and as latents
    evaluation    how metrics behave on clouds, on damaged training pictures and on the model's own
    clock         how long a piece of work may take
    perfect       the perfect denoiser of the training pictures, beside the network that learnt from them
    assumptions   the six assumptions of the framework, each with what justifies and what limits it
    live          small networks trained while one watches, beside what a perfect one would answer
    claims        every statement of the source, as a function that measures it
    training      how the model in assets/ was made

Notation: x0 clean, x noisy, eps noise; alpha = √alpha_bar, sigma = √(1 − alpha_bar), x = alpha·x0 + sigma·eps;
v = alpha·eps − sigma·x0; nsr = sigma/alpha (Karras' sigma); lam = log(alpha/sigma); std of fresh noise; cur and nxt the
noisier and the cleaner level of a move; gamma the guidance scale, w = 1 + gamma everyone's CFG scale.
Shapes: B C H W, L tokens, D features.
"""

from typing import TYPE_CHECKING, Any

import core.pages  # before anything imports torch
import core.samplers  # noqa: F401  registers the samplers, whoever asks for the registry first
from core.sampling import SAMPLERS
from core.schedules import SCHEDULES, SPACINGS

if TYPE_CHECKING:
    from core.pipeline import load_pipeline
    from core.recipe import Recipe

__all__ = ["SAMPLERS", "SCHEDULES", "SPACINGS", "Recipe", "load_pipeline"]


def __getattr__(name: str) -> Any:
    """Recipe and load_pipeline on demand: they need pydantic and safetensors, which a training machine may lack."""
    if name == "Recipe":
        from core.recipe import Recipe

        return Recipe
    if name == "load_pipeline":
        from core.pipeline import load_pipeline

        return load_pipeline
    raise AttributeError(f"module 'core' has no attribute {name!r}")
