"""The plane of guidance: 0, eps_0 and eps_c span it, and every guided prediction lies on the line through the last two.

    u = (eps_c − eps_0)/d,   d = ‖eps_c − eps_0‖                             the direction of the condition            (1)
    v = (eps_0 − (eps_0·u)·u)/h,   h = ‖eps_0 − (eps_0·u)·u‖                 Gram-Schmidt                              (2)
    eps_0 = a·u + h·v,   eps_c = (a + d)·u + h·v,   guided = (a + w·d)·u + h·v,   a = eps_0·u,   w = 1 + gamma          (3)

So in the coordinates (u, v) guidance is a walk along a horizontal line: w = 0 at eps_0, w = 1 at eps_c, and beyond.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor


class Plane(NamedTuple):
    """Equation (3) as three numbers; `off` is how far what the run really used lies from it, as a share of its length."""

    a: float
    d: float
    h: float
    off: float = 0.0

    def norm(self, w: float) -> float:
        """‖guided‖ at the CFG scale w; 0 is ‖eps_0‖, 1 is ‖eps_c‖."""
        return math.hypot(self.a + w * self.d, self.h)


def plane(empty: Tensor, cond: Tensor, guided: Tensor | None = None, w: float = 1.0) -> Plane:
    """The plane of eps_0 and eps_c (of any shape, taken as vectors) and how far `guided` is from its place at w."""
    e, c = empty.double().flatten(), cond.double().flatten()
    d = float((c - e).norm())
    u = (c - e) / d if d else c - e
    a = float(e @ u)
    off = 0.0
    if guided is not None:
        wanted = e + w * (c - e)
        off = float((guided.double().flatten() - wanted).norm() / wanted.norm().clamp(min=1e-30))
    return Plane(a, d, float((e - a * u).norm()), off)
