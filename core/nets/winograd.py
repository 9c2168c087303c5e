"""Winograd's convolution: a 3×3 filter over 4×4 outputs by 36 products in place of 144 (1509.09308, §4).

    (1)  Y = Aᵀ·[ (G·g·Gᵀ) ⊙ (Bᵀ·d·B) ]·A        for a 6×6 tile d of the input, a filter g and a 4×4 tile Y of the output

The product ⊙ over all channels and tiles is 36 matrix products. Bᵀ and Aᵀ act on rows, then on columns, each as a few sums of
whole planes; G acts once, on the weights, in float64. In float32 the result differs from the plain sum by about 2e-6.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

STRIP = 2**17  # tiles × channels that are transformed and multiplied at once, so that they stay in the cache
LEAST_TILES = 64
LEAST_CHANNELS = {torch.float32: 128, torch.bfloat16: 320}  # below these the transforms cost what the products save

G = torch.tensor(
    [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], dtype=torch.float64
) / 24


def pays(cin: int, cout: int, x: Tensor) -> bool:
    """Whether x is large and wide enough; a rule of shapes alone, so that a picture never depends on a stopwatch."""
    height, width = x.shape[-2:]
    return min(cin, cout) >= LEAST_CHANNELS[x.dtype] and -(-height // 4) * -(-width // 4) >= LEAST_TILES


def transformed(weight: Tensor) -> Tensor:
    """G·g·Gᵀ of every filter: [Cout, Cin, 3, 3] -> [36, Cin, Cout] in float32, columns of the tile before its rows."""
    return torch.einsum("ia,jb,ocab->jico", G, G, weight.double()).float().reshape(36, weight.shape[1], weight.shape[0])


def convolve(x: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
    """Equation (1) for x [B, Cin, H, W], zeros around it -> [B, Cout, H, W], both channels last; weights from `transformed`."""
    b, cin, height, width = x.shape
    down, across, cout = -(-height // 4), -(-width // 4), weights.shape[2]
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1 + 4 * across - width, 1, 1 + 4 * down - height))
    out = torch.empty(b, 4 * down, 4 * across, cout, dtype=x.dtype)
    strip = STRIP // min(cin, cout)
    rows, images = min(down, max(1, strip // across)), max(1, strip // (down * across))
    for first in range(0, b, images):
        for top in range(0, down, rows):
            n = min(rows, down - top)
            part = padded[first : first + images, 4 * top : 4 * (top + n) + 2].float()  # b rows columns C
            _strip(part, weights, bias, out[first : first + images, 4 * top : 4 * (top + n)])
    return out[:, :height, :width].permute(0, 3, 1, 2)


def _strip(x: Tensor, weights: Tensor, bias: Tensor | None, out: Tensor) -> None:
    """Some rows of tiles: x [b, 4n + 2, 4m + 2, Cin] -> out [b, 4n, 4m, Cout]."""
    b, n, m = x.shape[0], out.shape[1] // 4, out.shape[2] // 4
    _, cin, cout = weights.shape
    half = x.new_empty(6, b, n, x.shape[2], cin)
    _to_tiles([x[:, i : i + 4 * n - 3 : 4] for i in range(6)], half)
    tiles = x.new_empty(6, 6, b, n, m, cin)
    _to_tiles([half[..., j : j + 4 * m - 3 : 4, :] for j in range(6)], tiles)
    products = x.new_empty(6, 6, b, n, m, cout)
    torch.bmm(tiles.view(36, -1, cin), weights, out=products.view(36, -1, cout))
    if bias is not None:
        products[1, 1] += bias  # Aᵀ has only ones in its column 1
    back = x.new_empty(4, 6, b, n, m, cout)
    _from_tiles(products, back)
    last = x.new_empty(4, 4, b, n, m, cout) if out.dtype != x.dtype else out.view(b, n, 4, m, 4, cout).permute(2, 4, 0, 1, 3, 5)
    _from_tiles(back.transpose(0, 1), last)
    if out.dtype != x.dtype:
        out.view(b, n, 4, m, 4, cout).copy_(last.permute(2, 3, 0, 4, 1, 5))


def _to_tiles(x: Sequence[Tensor], y: Tensor) -> None:
    """Bᵀ along one side: six planes x into the six planes of y."""
    x0, x1, x2, x3, x4, x5 = x
    y0, y1, y2, y3, y4, y5 = y
    torch.sub(x4, x2, alpha=4, out=y1)
    torch.sub(x3, x1, alpha=4, out=y0)
    torch.sub(y1, y0, out=y2)  # 4 x1 − 4 x2 − x3 + x4
    y1.add_(y0)  # −4 x1 − 4 x2 + x3 + x4
    torch.sub(x4, x2, out=y3)
    torch.sub(x3, x1, out=y0)
    torch.sub(y3, y0, alpha=2, out=y4)  # 2 x1 − x2 − 2 x3 + x4
    y3.add_(y0, alpha=2)  # −2 x1 − x2 + 2 x3 + x4
    torch.sub(x4, x2, alpha=5, out=y0)
    y0.add_(x0, alpha=4)  # 4 x0 − 5 x2 + x4
    torch.sub(x5, x3, alpha=5, out=y5)
    y5.add_(x1, alpha=4)  # 4 x1 − 5 x3 + x5


def _from_tiles(x: Tensor, y: Tensor) -> None:
    """Aᵀ along one side: six planes of x, two of which it uses up, into the four planes of y."""
    x0, x1, x2, x3, x4, x5 = x
    y0, y1, y2, y3 = y
    torch.add(x1, x2, out=y0)
    torch.sub(x1, x2, out=y1)
    torch.add(x3, x4, out=x1)
    torch.sub(x3, x4, out=x2)
    torch.add(y0, x1, alpha=4, out=y2)  # x1 + x2 + 4 (x3 + x4)
    torch.add(y1, x2, alpha=8, out=y3)
    y3.add_(x5)  # x1 − x2 + 8 (x3 − x4) + x5
    y1.add_(x2, alpha=2)  # x1 − x2 + 2 (x3 − x4)
    y0.add_(x1).add_(x0)  # x0 + x1 + x2 + x3 + x4
