"""How the app is started: the frozen answer to "which model, on which address, for whom".

Standard library only, so that the command line answers at once and can be read before anything is installed.
An argument wins over the environment (HOST, PORT, ROOT_PATH, then Gradio's own names, which a Space sets; INCEPTION, QUOTA).
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import NoReturn

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Options:
    """What `studio.app.serve` needs to know; every field has the default of `python launch.py` alone."""

    model: str | None = None  # a diffusers folder or a .safetensors file; None: the embedded model
    host: str = "127.0.0.1"
    port: int | None = None  # None: the first free port from 7860 on
    root_path: str = ""  # the sub-path behind a reverse proxy, such as /studio
    share: bool = False
    auth: tuple[str, str] | None = None
    mcp: bool = False
    device: str = "auto"
    dtype: str = "auto"
    prediction: str | None = None  # what the network predicts, where its files do not say: "eps" or "v"
    inception: str | None = None  # weights of Inception-v3 for Evaluate; None: our own networks' features
    quota: int | None = None  # megabytes for what visitors upload and make; None: 2,000, but no more than half the disk's room

    @property
    def shared(self) -> bool:
        """Whether people elsewhere can reach the app, so that nothing of this machine may be reached through it."""
        return self.share or self.host not in LOOPBACK


def stop(message: str) -> NoReturn:
    """Say in one line what is wrong and what to do, and leave with exit code 2."""
    print(f"diffusion-studio: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(2)


def from_environment(*names: str) -> str | None:
    """The first of these environment variables that is set and not empty."""
    return next((os.environ[name] for name in names if os.environ.get(name)), None)
