"""What the tests of refusals share: the sentence that a load fails with, and a pickle that would leave a trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from core.checkpoints.load import load_checkpoint
from core.errors import UserError

SECRET = "secret-place"  # part of every path in these tests, and of no sentence


def refusal(path: Path, dtype: torch.dtype = torch.float32) -> str:
    """The one sentence with which a checkpoint is refused; it must not tell where on the machine the file is."""
    with pytest.raises(UserError) as error:
        load_checkpoint(path, dtype=dtype)
    sentence = str(error.value)
    assert "\n" not in sentence and sentence.endswith(".") and len(sentence) < 900
    assert SECRET not in sentence
    return sentence


class Canary:
    """An object whose pickle makes a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")
