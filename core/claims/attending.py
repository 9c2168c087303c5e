"""Claims about what the U-Net attends to and hears: normalisation, attention, words, and CLIP's loss."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from core.assumptions.line import over_runs
from core.claims import Finding, Progress, claim, decided, verdict
from core.metrics import Interval
from core.nets.attention import TransformerBlock
from core.nets.clip import contrastive_loss, summed_contrastive_loss
from core.perfect import noised, predicted, some_indices, some_of

if TYPE_CHECKING:
    from core.pipeline import TextToImage

PICTURES, AT = 8, 300


@claim(
    8,
    says="Modern diffusion U-Nets incorporate group normalisation and SiLU activations.",
    asks="After GroupNorm, before its learnt scale: how far from 1 is the variance of a group, in the mean over the layers?",
    unit="away from 1", paper="2105.05233",
    link="?v=1&tab=labs&view.page=inside&view.part=down_blocks.1.resnets.0",
)  # fmt: skip
def group_norm(pipe: TextToImage) -> Finding:
    """Hook every GroupNorm of the U-Net on noisy training pictures, normalise what went in, and measure mean and variance a
    group.
    """
    norms = [module for module in pipe.unet.modules() if isinstance(module, nn.GroupNorm)]
    seen: list[tuple[nn.GroupNorm, Tensor]] = []
    hooks = [norm.register_forward_pre_hook(lambda module, args: seen.append((module, args[0]))) for norm in norms]
    try:
        x, _ = noised(some_of(pipe, 2).to(pipe.device), at := pipe.schedule.at(AT))
        predicted(pipe, x, at, ["", ""])
    finally:
        for hook in hooks:
            hook.remove()
    means, variances = [], []
    for norm, before in seen:
        groups = nn.functional.group_norm(before.float(), norm.num_groups, eps=norm.eps).reshape(len(before), norm.num_groups, -1)
        means.append(float(groups.mean(-1).abs().max()))
        variances.append(float((groups.var(-1, unbiased=False) - 1).abs().median()))
    value = over_runs(variances)
    silent = float(nn.functional.silu(torch.linspace(-20, 0, 2001)).min())
    told = (f"{len(norms)} GroupNorms: the mean of a group is at most {max(means):.0e} from 0, its variance {max(variances):.0e} "
            f"from 1 in the "
            f"median. SiLU passes what is positive and never goes below {silent:.2f}.")  # fmt: skip
    return Finding(value, verdict(max(means) < 1e-3 and max(variances) < 1e-2), told, {"t": AT})


@claim(
    9,
    says="Multi-head self-attention layers at lower spatial resolutions enable the model to capture global image structure.",
    asks="What share of a position's attention goes farther than a 3×3 convolution reaches?",
    unit="share beyond 3×3", paper="2105.05233",
    link="?v=1&tab=labs&view.page=inside&view.part=mid_block.attentions.0&view.pixel_down=0.5&view.pixel_right=0.5",
)  # fmt: skip
def self_attention(pipe: TextToImage) -> Finding:
    """Watch every self-attention on noisy training pictures: rows sum to one; how much lies outside the 3×3 neighbourhood."""
    blocks = [module for module in pipe.unet.modules() if isinstance(module, TransformerBlock)]
    seen: list[Tensor] = []
    hooks = [block.attn1.register_forward_pre_hook(lambda module, args: seen.append(module.weights(*args))) for block in blocks]
    try:
        x, _ = noised(some_of(pipe, PICTURES).to(pipe.device), at := pipe.schedule.at(AT))
        predicted(pipe, x, at, [""] * len(x))
    finally:
        for hook in hooks:
            hook.remove()
    rows = max(float((weights.sum(-1) - 1).abs().max()) for weights in seen)
    shares = [(weights.mean(1) * beyond(math.isqrt(weights.shape[-1])).to(weights)).sum(-1).mean(1) for weights in seen]
    value = over_runs(torch.stack(shares).mean(0).double().cpu().numpy())
    sides = sorted({math.isqrt(weights.shape[-1]) for weights in seen}, reverse=True)
    told = (f"{len(seen)} layers at {', '.join(f'{side}×{side}' for side in sides)} (the picture has "
            f"{pipe.unet.config.sample_size}²); rows sum to 1 "
            f"to {rows:.0e}.")  # fmt: skip
    lower = sides[-1] < pipe.unet.config.sample_size
    return Finding(value, decided(value, low=0.25) if rows < 1e-4 and lower else verdict(False), told, {"t": AT})


def beyond(side: int) -> Tensor:
    """1 where two positions of a square map are no neighbours, [side², side²]."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    away = torch.maximum((y.flatten()[:, None] - y.flatten()).abs(), (x.flatten()[:, None] - x.flatten()).abs())
    return (away > 1).float()


@claim(
    10,
    says="Cross-attention with text embeddings for text-conditioned generation.",
    asks="How many times as much does a word look inside the object it made as outside of it?",
    unit="× inside/outside", paper="2112.10752",
    link="?v=1&tab=denoise&prompt=red+apple%2C+flat&steps=12&seed=3",
)  # fmt: skip
def cross_attention(pipe: TextToImage) -> Generator[Progress, None, Finding]:
    """Make a picture at six seeds; its object is what is not white; compare the word's attention inside with outside, over all
    layers.
    """
    from core.observe import attention, by_words, words
    from core.recipe import Recipe

    ratios, rows = [], 0.0
    found = words(pipe.tokenizer, prompt := "red apple")
    for seed in range(6):
        recipe = Recipe(prompt=prompt, sampler="ddim", steps=12, gamma=4, seed=seed)
        steps = list(pipe.run(recipe))
        object_ = (pipe.decode(steps[-1].x_next) < 0.7).any(1, keepdim=True).float().cpu()
        each = []
        for layer in attention(pipe, recipe, steps[len(steps) // 2]):
            rows = max(rows, float((layer.weights.sum(-1) - 1).abs().max()))
            heat = by_words(layer, found)[-2, 0]
            mask = nn.functional.adaptive_avg_pool2d(object_, (heat.shape[0], heat.shape[1]))[0, 0]
            if 0.02 < float(mask.mean()) < 0.98:
                inside, outside = (float((heat * m).sum() / m.sum()) for m in (mask, 1 - mask))
                each.append(inside / max(outside, 1e-12))
        ratios += [float(np.mean(each))] if each else []
        yield Progress(f"seed {seed}", (seed + 1) / 6)
    value = over_runs(ratios) if len(ratios) > 1 else Interval(math.nan, math.nan, math.nan)
    told = (f"“apple” of “{prompt}”, half way through, at {len(ratios)} seeds that made an object on white; rows sum to 1 to "
            f"{rows:.0e}.")  # fmt: skip
    shown = {"prompt": prompt, "sampler": "ddim", "steps": 12, "gamma": 4, "seed": 0}
    return Finding(value, decided(value, low=1), told, {"seeds": 6}, shown)


@claim(
    21,
    says="L_CLIP = −1/N Σ_i [log softmax_j(sim(z_i^I, z_j^T)/τ)_i + log softmax_j(sim(z_j^I, z_i^T)/τ)_i].",
    asks="The loss of 64 pairs when nothing is learnt yet, as a multiple of ln 64?",
    unit="× ln N", paper="2103.00020",
    link="?v=1&tab=labs&view.page=clip&view.tau=3",
    note="CLIP takes the mean of the two terms; the document adds them, so its loss is twice CLIP's.",
)  # fmt: skip
def clip_loss() -> Finding:
    """The document's form on pairs that all look alike, and on random directions at τ = 1; against CLIP's own form."""
    n, dims, values = 64, 512, []
    for seed in range(8):
        random = torch.randn(2, n, dims, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        image, text = nn.functional.normalize(random, dim=-1)
        values.append(float(summed_contrastive_loss(image @ text.T)) / math.log(n))
    flat = torch.full((n, n), 0.3, dtype=torch.float64)
    alike, half = float(summed_contrastive_loss(flat)) / math.log(n), float(contrastive_loss(flat)) / math.log(n)
    value = over_runs(values)
    told = (f"{alike:.6f}·ln N when all pairs look alike, {value.value:.3f}·ln N for random directions; CLIP's own form gives "
            f"{half:.6f}·ln N.")  # fmt: skip
    holds = abs(alike - 2) < 1e-9 and abs(half - 1) < 1e-9 and abs(value.value - 2) < 0.05
    return Finding(value, verdict(holds), told, {"N": n, "tau": 1})


@claim(
    22,
    says="The text embedding z^T is injected into the U-Net via cross-attention layers.",
    asks="By what share does ε change if the name of the picture is left out of the context?",
    unit="share of ‖ε_c − ε_0‖", paper="2112.10752",
    link="?v=1&tab=denoise&prompt=red+apple%2C+flat&steps=12&seed=3",
    note="The U-Net attends to the states of all tokens, not to the one pooled vector z^T that the contrastive loss sees.",
)  # fmt: skip
def text_enters(pipe: TextToImage) -> Generator[Progress, None, Finding]:
    """Leave the tokens of the picture's name out of the context at t = 600, and compare with leaving all words away; count
    tokens.
    """
    from core.observe import conditional, words

    origins, latents = pipe.extras.training.origins, some_of(pipe, PICTURES).to(pipe.device)
    x, _ = noised(latents, at := pipe.schedule.at(600))
    shares = []
    for row, index in enumerate(some_indices(len(origins), PICTURES)):
        name = origins[index].label
        places = [position for word in words(pipe.tokenizer, name) for position in word.positions]
        one = x[row : row + 1]
        full, less, empty = (conditional(pipe, text, one, at, out).eps for text, out in ((name, ()), (name, places), ("", ())))
        shares.append(float((full - less).norm() / (full - empty).norm().clamp(min=1e-12)))
        yield Progress(name, (row + 1) / PICTURES)
    value, length = over_runs(shares), pipe.text_states([""]).shape[1]
    told = (f"The context has {length} tokens of {pipe.unet.config.context_dim} numbers. Without the name's own tokens ε moves by "
            f"{100 * value.value:.0f} % of what all words together do: the tokens behind it have heard it too.")  # fmt: skip
    return Finding(value, decided(value, low=0), told, {"t": 600})
