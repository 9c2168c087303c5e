"""The endpoints `/encode` and `/decode`: a picture as latents for programs, and back."""

# No `from __future__ import annotations`: Gradio reads the types of an endpoint as objects.
import asyncio
import inspect
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import torch
from gradio.data_classes import FileData
from PIL import Image

from core.errors import UserError
from core.metrics import psnr
from core.pipeline import to_images
from studio.figures.latents import channel
from studio.figures.noising import square
from studio.formats.whole import write_png
from studio.service.jobs import Done, Failed, Queued, Stopped
from studio.widgets import controls
from studio.widgets.base import ENGINE
from studio.widgets.checks import whole
from studio.widgets.uploads import SafeImage
from studio.work.latents import Bench, picture_cost

LEAST_CELLS, MOST_CELLS = 1, 128  # of a side
MOST_VALUE = 1000.0


def lay_out(bench: Bench) -> None:
    """Both endpoints; the file that `/encode` takes goes through the safe decoder of uploads, which is a component's."""
    with gr.Row(visible=False):
        image = SafeImage(label="image")
        side = gr.Number(0, label="side", precision=0)
        told = gr.JSON(label="latents")
        press = gr.Button()
    press.click(encoder(bench), [image, side], told, api_name="encode", show_progress="hidden", **ENGINE)
    gr.api(decoder(bench), api_name="decode", **ENGINE)


def encoder(bench: Bench) -> Callable[..., Any]:
    """The function behind `/encode`."""

    async def encode(request: gr.Request, image: Image.Image | None, side: float = 0) -> AsyncIterator[Any]:
        """Encode a picture: the latents that the loaded model's VAE makes of it, and how well they tell the picture again.

        Args:
            image: A PNG, JPEG or WebP file; its middle is cut to a square. An upload, or by MCP its address here or the picture
                itself as a data: URI; other addresses are not fetched.
            side: The side of that square in pixels, a multiple of 8 up to 1024; 0 for the model's own size.

        Returns:
            latents, a list of 4 channels of rows of numbers, scaled to a standard deviation of about 1; mean and std of every
            channel; the PSNR of what is decoded from them, in dB. Before, where it stands.
        """
        try:
            if image is None:
                raise UserError("image is missing; hand in a PNG, JPEG or WebP file.")
            x = square(image, side_of(bench, side))
            bench.engine.room_for(x.width, x.height)
            price = picture_cost(bench, None) * (x.width / bench.pipe.size) ** 2
            with bench.engine.compute(lambda: bench.coded(x), controls.visitor(request), price) as job:
                async for event in job:
                    if isinstance(event, Done):
                        one = event.value
                        told = {"side": x.width, "psnr": round(float(psnr(one.x, one.back)), 3), "channels": numbers(one.z[0])}
                        yield {"state": "done", "latents": rounded(one.z[0])} | told
                    else:
                        yield standing(event)
        except Exception as error:
            raise controls.fault(error) from None

    return encode


def decoder(bench: Bench) -> Callable[..., Any]:
    """The function behind `/decode`."""

    async def decode(request: gr.Request, latents: list[list[list[float]]]) -> AsyncIterator[Any]:
        """Decode latents: the picture that the loaded model's VAE makes of them.

        Args:
            latents: A list of 4 channels of rows of numbers, as /encode gives them; at most 128 cells a side.

        Returns:
            The picture as a PNG.
            Its size in pixels, and mean and std of every channel; before, where it stands.
        """
        try:
            z = latents_of(latents, bench.pipe.vae.config.latent_channels)
            height, width = (bench.pipe.vae.factor * cells for cells in z.shape[2:])
            bench.engine.room_for(width, height)
            price = picture_cost(bench, None) * z[0, 0].numel() * bench.pipe.vae.factor**2 / bench.pipe.size**2

            def work() -> Any:
                yield None
                return bench.decoded(z)

            with bench.engine.compute(work, controls.visitor(request), price) as job, tempfile.TemporaryDirectory() as folder:
                async for event in job:
                    if isinstance(event, Done):
                        (image,) = to_images(event.value)
                        path = await asyncio.to_thread(write_png, Path(folder) / "decoded.png", image)
                        told = {"state": "done", "width": image.width, "height": image.height, "channels": numbers(z[0])}
                        yield FileData(path=str(path)).model_dump(), told
                    else:
                        yield None, standing(event)
        except Exception as error:
            raise controls.fault(error) from None

    # An asynchronous generator's outputs are what it yields, which its annotation cannot say to Gradio.
    outputs = inspect.signature(decode).replace(return_annotation=tuple[dict, dict])
    decode.__signature__ = outputs  # type: ignore[attr-defined]
    return decode


def side_of(bench: Bench, side: Any) -> int:
    """The side that is asked for, or the model's own; raises UserError."""
    f = bench.pipe.vae.factor
    found = whole("side", side, 0, MOST_CELLS * f) or bench.pipe.size
    if found % f:
        raise UserError(f"side is {found}; this model needs a multiple of {f}.")
    return found


def latents_of(given: Any, channels: int) -> torch.Tensor:
    """Latents [1, C, h, w] from nested lists; raises UserError for anything else."""
    form = f"latents must be a list of {channels} channels of rows of numbers, as /encode gives them"
    try:
        values = np.array(given)
    except ValueError:  # lists of different lengths
        raise UserError(f"{form}; here rows or channels differ in length.") from None
    if values.dtype.kind not in "if" or values.ndim != 3 or len(values) != channels:
        raise UserError(f"{form}.")
    if not all(LEAST_CELLS <= n <= MOST_CELLS for n in values.shape[1:]):
        cells = f"{values.shape[2]}×{values.shape[1]}"
        raise UserError(f"{form}; a side has {LEAST_CELLS} to {MOST_CELLS} cells, and here there are {cells}.")
    if not np.isfinite(values).all() or np.abs(values).max() > MOST_VALUE:
        raise UserError(f"{form}; each must be finite and at most {MOST_VALUE:g}.")
    return torch.from_numpy(values.astype(np.float32))[None]


def numbers(z: torch.Tensor) -> list[dict[str, Any]]:
    """Mean and standard deviation of every channel."""
    return [{name: value for name, value in channel(one).items() if name != "density"} for one in z]


def rounded(z: torch.Tensor) -> list[Any]:
    """Latents as nested lists, to five digits after the point."""
    return np.round(z.double().numpy(), 5).tolist()


def standing(event: Any) -> dict[str, Any]:
    """Where the work stands; raises UserError where it has ended otherwise."""
    if isinstance(event, (Failed, Stopped)):
        raise UserError(event.sentence if isinstance(event, Failed) else "Stopped on request.")
    return {"state": "queued", "position": event.position} if isinstance(event, Queued) else {"state": "running"}
