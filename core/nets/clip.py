"""CLIP: two transformers trained to give a picture and its caption the same direction (2103.00020).

    (1)  logits = s · z_I·z_Tᵀ for unit vectors z, s = exp(logit_scale) = 1/tau
    (2)  CLIP's loss: the mean of the cross-entropies of the rows and of the columns of (1)
    (3)  the source document's loss: their sum; at random initialisation it is 2·ln N

Parameter names are those of the transformers layout.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from core.nets.attention import attend
from core.nets.configs import TextConfig, VisionConfig

ACTIVATIONS = {"gelu": F.gelu, "quick_gelu": lambda x: F.silu(1.702 * x) / 1.702}


class SelfAttention(nn.Module):
    """Multi-head self-attention with biases; causal for text."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, causal: bool) -> Tensor:
        q, k, v = (
            rearrange(proj(x), "b l (h d) -> b h l d", h=self.heads)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.out_proj(rearrange(attend(q, k, v, causal), "b h l d -> b l (h d)"))


class MLP(nn.Module):
    def __init__(self, width: int, hidden: int, activation: str) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.activation(self.fc1(x)))


class Layer(nn.Module):
    """x += attention(norm x); x += mlp(norm x)."""

    def __init__(self, config: TextConfig | VisionConfig) -> None:
        super().__init__()
        self.self_attn = SelfAttention(config.width, config.heads)
        self.layer_norm1 = nn.LayerNorm(config.width, config.eps)
        self.mlp = MLP(config.width, config.mlp, config.activation)
        self.layer_norm2 = nn.LayerNorm(config.width, config.eps)

    def forward(self, x: Tensor, causal: bool) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x), causal)
        return x + self.mlp(self.layer_norm2(x))


class Transformer(nn.Module):
    """A stack of layers over tokens [B, L, D]."""

    def __init__(self, config: TextConfig | VisionConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Layer(config) for _ in range(config.layers)])

    def forward(self, x: Tensor, causal: bool = False) -> Tensor:
        for layer in self.layers:
            x = layer(x, causal)
        return x


@dataclass(frozen=True)
class TextStates:
    """What a text encoder hands out: the state of every token [B, L, D] and the one at the end-of-text token [B, D]."""

    states: Tensor
    pooled: Tensor


class TextEmbeddings(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab, config.width)
        self.position_embedding = nn.Embedding(config.length, config.width)

    def forward(self, ids: Tensor) -> Tensor:
        return self.token_embedding(ids) + self.position_embedding.weight[: ids.shape[1]]


class TextTransformer(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.eos = config.eos
        self.embeddings = TextEmbeddings(config)
        self.encoder = Transformer(config)
        self.final_layer_norm = nn.LayerNorm(config.width, config.eps)

    def forward(self, ids: Tensor) -> TextStates:
        states = self.final_layer_norm(self.encoder(self.embeddings(ids), causal=True))
        end = (ids == self.eos).int().argmax(dim=1)  # the first end-of-text token
        return TextStates(states, states[torch.arange(len(ids), device=ids.device), end])


class TextEncoder(nn.Module):
    """CLIP's text tower as a pipeline uses it: ids [B, L] -> TextStates, final norm applied."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.text_model = TextTransformer(config)

    def forward(self, ids: Tensor) -> TextStates:
        return self.text_model(ids)


class VisionEmbeddings(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.class_embedding = nn.Parameter(nn.init.normal_(torch.empty(config.width), std=config.width**-0.5))
        self.patch_embedding = nn.Conv2d(3, config.width, config.patch, stride=config.patch, bias=False)
        self.position_embedding = nn.Embedding((config.size // config.patch) ** 2 + 1, config.width)

    def forward(self, x: Tensor) -> Tensor:
        patches = rearrange(self.patch_embedding(x), "b d h w -> b (h w) d")
        first = self.class_embedding.expand(len(x), 1, -1)
        return torch.cat([first, patches], dim=1) + self.position_embedding.weight


class VisionTransformer(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.embeddings = VisionEmbeddings(config)
        self.pre_layrnorm = nn.LayerNorm(config.width, config.eps)  # the ecosystem's spelling
        self.encoder = Transformer(config)
        self.post_layernorm = nn.LayerNorm(config.width, config.eps)

    def forward(self, x: Tensor) -> Tensor:
        states = self.encoder(self.pre_layrnorm(self.embeddings(x)))
        return self.post_layernorm(states[:, 0])


class Clip(nn.Module):
    """Both towers with their projections and the learnable temperature."""

    def __init__(self, text: TextConfig, vision: VisionConfig) -> None:
        super().__init__()
        self.text_model = TextTransformer(text)
        self.vision_model = VisionTransformer(vision)
        self.text_projection = nn.Linear(text.width, text.projection, bias=False)
        self.visual_projection = nn.Linear(vision.width, vision.projection, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def embed_text(self, ids: Tensor) -> Tensor:
        """Unit vectors [B, projection] of captions by their ids [B, L]."""
        return self.project_text(self.text_model(ids).pooled)

    def project_text(self, pooled: Tensor) -> Tensor:
        """Unit vectors [B, projection] from the text tower's pooled states [B, width]."""
        return F.normalize(self.text_projection(pooled), dim=-1)

    def embed_image(self, x: Tensor) -> Tensor:
        """Unit vectors [B, projection] of pictures [B, 3, size, size]."""
        return F.normalize(self.visual_projection(self.vision_model(x)), dim=-1)

    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        """Equation (1): logits [pictures, captions]."""
        return self.match(self.embed_image(x), self.embed_text(ids))

    def match(self, images: Tensor, texts: Tensor) -> Tensor:
        """Equation (1) from the unit vectors of both."""
        return self.logit_scale.exp() * images @ texts.T


def contrastive_loss(logits: Tensor) -> Tensor:
    """CLIP's loss, equation (2): ½ (CE(rows) + CE(columns)) for logits [N, N]; ln N when nothing is learnt.

    Source: 2103.00020, figure 3.
    """
    return summed_contrastive_loss(logits) / 2


def summed_contrastive_loss(logits: Tensor) -> Tensor:
    """The source document's form, equation (3): CE(rows) + CE(columns), twice CLIP's."""
    target = torch.arange(len(logits), device=logits.device)
    return F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)


def initialise(model: nn.Module) -> None:
    """Initial weights for training a transformer from scratch: small normal weights, zero biases."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding | nn.Conv2d):
            nn.init.normal_(module.weight, std=0.02)
            if isinstance(bias := getattr(module, "bias", None), Tensor):
                nn.init.zeros_(bias)
