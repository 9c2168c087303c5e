"""Claims about what the U-Net attends to and hears: normalisation, attention, words, and CLIP's loss."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from core.assumptions.line import over_runs
from core.claims import Finding, Progress, claim, decided, together, verdict
from core.errors import UserError
from core.inside.hooks import inputs, outputs
from core.inside.parts import map_of
from core.inside.switches import Switch, family
from core.inside.switches import told as said
from core.metrics import Interval
from core.nets.attention import TransformerBlock
from core.nets.clip import contrastive_loss, summed_contrastive_loss
from core.nets.layers import ResnetBlock
from core.perfect import noised, predicted, some_indices, some_of
from core.schedules import Level

if TYPE_CHECKING:
    from core.pipeline import TextToImage

PICTURES, AT = 8, 300
TAUGHT = 400  # steps of a tiny CLIP


@claim(
    8,
    says="Modern diffusion U-Nets incorporate group normalisation and SiLU activations.",
    asks="After GroupNorm, before its learnt scale: how far from 1 is the variance of a group, in the mean over the layers?",
    unit="away from 1", paper="2105.05233",
    link="?v=1&tab=labs&view.page=inside&view.part=down_blocks.1.resnets.0",
)  # fmt: skip
def group_norm(pipe: TextToImage) -> Finding:
    """Hook what every GroupNorm of the U-Net puts out on noisy training pictures, take its learnt scale and shift back, and measure
    mean and variance a group; hold what the convolution behind it is given to SiLU of it.
    """
    modules = dict(pipe.unet.named_modules())
    norms = {name: module for name, module in modules.items() if isinstance(module, nn.GroupNorm)}
    behind = {f"{block}.norm{i}": f"{block}.conv{i}" for block, module in modules.items() if isinstance(module, ResnetBlock)
              for i in (1, 2)} | {"conv_norm_out": "conv_out"}  # fmt: skip
    x, _ = noised(some_of(pipe, 2).to(pipe.device), at := pipe.schedule.at(AT))
    with outputs(norms, copied=True) as seen, inputs({name: modules[name] for name in behind.values()}) as passed:
        predicted(pipe, x, at, ["", ""])
    means, variances = [], []
    for name, norm in norms.items():
        out, shape = seen[name].float(), (1, -1, *[1] * (seen[name].ndim - 2))
        plain = (out - norm.bias.float().reshape(shape)) / norm.weight.float().reshape(shape)
        groups = plain.reshape(len(out), norm.num_groups, -1)
        means.append(float(groups.mean(-1).abs().max()))
        variances.append(float((groups.var(-1, unbiased=False) - 1).abs().median()))
    value = over_runs(variances)
    apart = max(float((nn.functional.silu(seen[norm]) - passed[conv]).abs().max()) for norm, conv in behind.items())
    least = min(float(one.min()) for one in passed.values())
    told = (f"{len(norms)} GroupNorms: before the learnt scale the mean of a group is at most {max(means):.0e} from 0, its "
            f"variance {max(variances):.0e} from 1 in the median. Behind {len(behind)} of them stands SiLU (to {apart:.0e}): what "
            f"it lets pass is never below {least:.2f}.")  # fmt: skip
    return Finding(value, verdict(max(means) < 1e-3 and max(variances) < 1e-2 and apart < 1e-3), told, {"t": AT})


@claim(
    9,
    says="Multi-head self-attention layers at lower spatial resolutions enable the model to capture global image structure.",
    asks="What share of a position's attention goes farther than a 3×3 convolution reaches? (spread evenly, about three quarters)",
    unit="share beyond 3×3", paper="2105.05233",
    link="?v=1&tab=labs&view.page=inside&view.part=mid_block.attentions.0&view.pixel_down=0.5&view.pixel_right=0.5",
)  # fmt: skip
def self_attention(pipe: TextToImage) -> Finding:
    """Watch every self-attention on noisy training pictures: rows sum to one; how much lies outside the 3×3 neighbourhood, beside
    attention that is spread evenly; then switch all of it off and measure the error of ε.
    """
    blocks = [module for module in pipe.unet.modules() if isinstance(module, TransformerBlock)]
    seen: list[Tensor] = []
    hooks = [block.attn1.register_forward_pre_hook(lambda module, args: seen.append(module.weights(*args))) for block in blocks]
    try:
        x, eps = noised(some_of(pipe, PICTURES).to(pipe.device), at := pipe.schedule.at(AT))
        predicted(pipe, x, at, [""] * len(x))
    finally:
        for hook in hooks:
            hook.remove()
    rows = max(float((weights.sum(-1) - 1).abs().max()) for weights in seen)
    shares = [(weights.mean(1) * beyond(math.isqrt(weights.shape[-1])).to(weights)).sum(-1).mean(1) for weights in seen]
    value = over_runs(torch.stack(shares).mean(0).double().cpu().numpy())
    sides = sorted({math.isqrt(weights.shape[-1]) for weights in seen}, reverse=True)
    evenly = float(np.mean([float(beyond(math.isqrt(weights.shape[-1])).mean()) for weights in seen]))
    cost = over_runs(without(pipe, x, at, eps, "self"))
    told = (f"{len(seen)} layers at {', '.join(f'{side}×{side}' for side in sides)} (the picture has "
            f"{pipe.unet.config.sample_size}²); rows sum to 1 to {rows:.0e}. Spread evenly, {evenly:.2f} would lie beyond. Without "
            f"self-attention the error of ε is {cost.value:.2f} [{cost.low:.2f}, {cost.high:.2f}] times as large.")  # fmt: skip
    holds = rows < 1e-4 and sides[-1] < pipe.unet.config.sample_size
    return Finding(value, together(verdict(holds), decided(value, low=0.25), decided(cost, low=1)), told, {"t": AT})


def without(pipe: TextToImage, x: Tensor, at: Level, eps: Tensor, kind: str) -> np.ndarray:
    """How many times as large the error of ε is for each row with all self- or cross-attention switched off."""
    side = pipe.unet.config.sample_size
    whole, less = (
        (said(pipe, x, at, [""] * len(x), switch).eps - eps).square().flatten(1).mean(1).double().cpu().numpy()
        for switch in (None, family(kind, map_of(pipe.unet.config, side, side))[-1])
    )
    return np.asarray(less / whole)


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
    layers (spread evenly, it would be the same); and leave the word out to see where the predicted x0 changes.
    """
    from core.observe import attention, by_words, words
    from core.recipe import Recipe

    ratios, rows, moved = [], 0.0, []
    found = words(pipe.tokenizer, prompt := "red apple")
    out = Switch("the word", "word", positions=found[-1].positions)
    for seed in range(6):
        recipe = Recipe(prompt=prompt, sampler="ddim", steps=12, gamma=4, seed=seed)
        steps = list(pipe.run(recipe))
        object_ = (pipe.decode(steps[-1].x_next) < 0.7).any(1, keepdim=True).float().cpu()
        each, middle = [], steps[len(steps) // 2]
        for layer in attention(pipe, recipe, middle):
            rows = max(rows, float((layer.weights.sum(-1) - 1).abs().max()))
            heat = by_words(layer, found)[-2, 0]
            mask = nn.functional.adaptive_avg_pool2d(object_, (heat.shape[0], heat.shape[1]))[0, 0]
            if 0.02 < float(mask.mean()) < 0.98:
                inside, outside = (float((heat * m).sum() / m.sum()) for m in (mask, 1 - mask))
                each.append(inside / max(outside, 1e-12))
        ratios += [float(np.mean(each))] if each else []
        full, less = (said(pipe, middle.x, middle.cur, [prompt], switch).x0 for switch in (None, out))
        mask = nn.functional.adaptive_avg_pool2d(object_, (full.shape[-2], full.shape[-1]))[0, 0].to(full)
        change = (full - less).square().mean((0, 1))
        if each:
            inside, outside = (float((change * m).sum() / m.sum()) for m in (mask, 1 - mask))
            moved.append(inside / max(outside, 1e-12))
        yield Progress(f"seed {seed}", (seed + 1) / 6)
    nothing = Interval(math.nan, math.nan, math.nan)
    value, where = (over_runs(some) if len(some) > 1 else nothing for some in (ratios, moved))
    told = (f"“apple” of “{prompt}”, half way through, at {len(ratios)} seeds that made an object on white; rows sum to 1 to "
            f"{rows:.0e}. Without the word the predicted x0 changes {where.value:.1f} [{where.low:.1f}, {where.high:.1f}] "
            f"times as much (mean square) inside the object as outside.")  # fmt: skip
    shown = {"prompt": prompt, "sampler": "ddim", "steps": 12, "gamma": 4, "seed": 0}
    return Finding(value, together(verdict(rows < 1e-4), decided(value, low=1), decided(where, low=1)), told, {"seeds": 6}, shown)


@claim(
    21,
    says="L_CLIP = −1/N Σ_i [log softmax_j(sim(z_i^I, z_j^T)/τ)_i + log softmax_j(sim(z_j^I, z_i^T)/τ)_i].",
    asks="The loss of 64 pairs when nothing is learnt yet, as a multiple of ln 64?",
    unit="× ln N", paper="2103.00020",
    link="?v=1&tab=labs&view.page=clip&view.tau=3",
    note="CLIP takes the mean of the two terms; the document adds them, so its loss is twice CLIP's.",
)  # fmt: skip
def clip_loss(pipe: TextToImage) -> Generator[Progress, None, Finding]:
    """The document's form on pairs that all look alike, and on random directions at τ = 1; against CLIP's own form. Then a tiny
    CLIP is trained with it, and asked for the captions of pictures that it never learnt from.
    """
    n, dims, values = 64, 512, []
    for seed in range(8):
        random = torch.randn(2, n, dims, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        image, text = nn.functional.normalize(random, dim=-1)
        values.append(float(summed_contrastive_loss(image @ text.T)) / math.log(n))
    flat = torch.full((n, n), 0.3, dtype=torch.float64)
    alike, half = float(summed_contrastive_loss(flat)) / math.log(n), float(contrastive_loss(flat)) / math.log(n)
    value = over_runs(values)
    told = (f"{alike:.6f}·ln N when all pairs look alike, {value.value:.3f}·ln N for random directions; CLIP's own form gives "
            f"{half:.6f}·ln N. {(yield from retrieved(pipe))}")  # fmt: skip
    holds = abs(alike - 2) < 1e-9 and abs(half - 1) < 1e-9 and abs(value.value - 2) < 0.05
    return Finding(value, verdict(holds), told, {"N": n, "tau": 1})


def retrieved(pipe: TextToImage) -> Generator[Progress, None, str]:
    """Train a tiny CLIP, and say how many of the held-out pictures find their own caption; or why it cannot be trained."""
    from core import contrast

    try:
        data = contrast.lesson(pipe)
    except UserError as error:
        return str(error)
    for now in contrast.taught(data, steps=TAUGHT):
        yield Progress(f"step {now.step} of a tiny CLIP", now.step / TAUGHT)
    held, share = len(now.cosines), now.right[-1][1]
    return (f"After {now.step} steps of a tiny CLIP {100 * share.value:.0f} % [{100 * share.low:.0f}, {100 * share.high:.0f}] of "
            f"{held} held-out pictures find their own caption among {held}; by chance {100 / held:.1f} %.")  # fmt: skip


@claim(
    22,
    says="The text embedding z^T is injected into the U-Net via cross-attention layers.",
    asks="The name of the picture is left out of the context: by what share of what all words do does the predicted x0 change?",
    unit="share of what all words change", paper="2112.10752",
    link="?v=1&tab=denoise&prompt=red+apple%2C+flat&steps=12&seed=3",
    note="The U-Net attends to the states of all tokens, not to the one pooled vector z^T that the contrastive loss sees.",
)  # fmt: skip
def text_enters(pipe: TextToImage) -> Generator[Progress, None, Finding]:
    """Leave the tokens of the picture's name out of the context at t = 600, and compare with leaving all words away; then switch
    cross-attention off and see whether any text still makes a difference of a bit.
    """
    from core.observe import conditional, words

    side = pipe.unet.config.sample_size
    crossless = family("cross", map_of(pipe.unet.config, side, side))[-1]
    origins, latents = pipe.extras.training.origins, some_of(pipe, PICTURES).to(pipe.device)
    x, _ = noised(latents, at := pipe.schedule.at(600))
    shares, differ = [], 0
    for row, index in enumerate(some_indices(len(origins), PICTURES)):
        name = origins[index].label
        places = [position for word in words(pipe.tokenizer, name) for position in word.positions]
        one = x[row : row + 1]
        full, less, empty = (conditional(pipe, text, one, at, out).x0 for text, out in ((name, ()), (name, places), ("", ())))
        shares.append(float((full - less).norm() / (full - empty).norm().clamp(min=1e-12)))
        deaf = [said(pipe, one, at, [text], crossless).x0 for text in (name, "")]
        differ += int((deaf[0] != deaf[1]).sum())
        yield Progress(name, (row + 1) / PICTURES)
    value, length = over_runs(shares), pipe.text_states([""]).shape[1]
    told = (f"The context has {length} tokens of {pipe.unet.config.context_dim} numbers. Without the name's own tokens x0 (and so "
            f"ε) moves by {100 * value.value:.0f} % of what all words together do: the tokens behind it have heard it too. With "
            f"cross-attention off, {differ} numbers differ between the name and no words: text has no other way in.")  # fmt: skip
    return Finding(value, together(verdict(differ == 0), decided(value, low=0)), told, {"t": 600})
