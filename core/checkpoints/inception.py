"""The weights of Inception-v3 from the file that an operator names: as strictly as a model's own, and from no pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from core.checkpoints.keymaps import IDENTITY, ONCE, Table, first
from core.checkpoints.load import materialise
from core.checkpoints.memory import check_fits, estimate
from core.checkpoints.plan import draft, used
from core.checkpoints.read import PICKLE, read_header
from core.errors import UserError
from core.nets.inception import InceptionV3

COUNTED = ".num_batches_tracked"  # how long a norm was trained: some files say so
RIGHT = "Take the weights of the port of 2015-12-05, pt_inception-2015-12-05, which FID is measured with"
CONVERT = (
    "is a pickle file, which can run any code when it is opened, so it never is here: turn it into a .safetensors file "
    "once, with the command that README.md gives under --inception"
)


def load_inception(path: str | Path, device: str | torch.device = "cpu") -> InceptionV3:
    """Inception-v3 with the weights of a .safetensors file, in float32.

    Raises UserError with one sentence for a file that cannot be read, is a pickle, or holds another network.
    """
    path, device = Path(path).expanduser(), torch.device(device)
    try:
        header = read_header(path)
    except UserError as error:  # PICKLE tells how to convert Stable Diffusion
        raise UserError(str(error).replace(PICKLE, CONVERT)) from error
    made = draft("Inception-v3", built, None, Table(IDENTITY, ONCE), header.tensors, RIGHT)
    if rest := sorted(name for name in header.tensors.keys() - used(made) if not name.endswith(COUNTED)):
        raise UserError(f"{path.name} holds {len(rest)} weights that the Inception-v3 of FID has not: {first(rest)}. {RIGHT}.")
    check_fits(estimate([made.model], made.entries.values(), torch.float32), device, path.name)
    materialise(made, device, torch.float32)
    network: Any = made.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def built(_: Any) -> nn.Module:
    """The network, which has no config."""
    return InceptionV3()
