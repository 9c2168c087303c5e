"""Several processes train as one: the same batch, shared out, and the same weights at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from core.nets.clip import TextEncoder
from core.nets.configs import TextConfig, UNetConfig, VAEConfig
from core.schedules import SCHEDULES
from core.training.autoencoder import VAELoss, VAETask
from core.training.captions import CaptionTable
from core.training.denoising import Latents, States, UNetTask
from core.training.loop import WHOLE, RunConfig, fit, trained_weights
from tests.training.test_loop import CPU, Copy

ROOT = Path(__file__).parents[2]


SCRIPT = """
import json, sys
from pathlib import Path
from tests.training.test_loop import CPU, Copy, fit

line = json.dumps([state.loss for state in fit(Copy(), Path(sys.argv[1]), CPU)])
sys.stdout.write(line + "\\n")  # in one piece: the processes share the pipe
"""


def test_two_processes_equal_one(tmp_path: Path) -> None:
    alone = [state.loss for state in fit(Copy(), tmp_path / "one", CPU)]
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", tmp_path / "script.py",
         tmp_path / "two"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(json.loads(done.stdout.splitlines()[0]), alone, rtol=1e-5)
    one, two = trained_weights(tmp_path / "one"), trained_weights(tmp_path / "two")
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-5, atol=1e-6)


def mean_of_shares(task: UNetTask | VAETask, of: int) -> tuple[float, float]:
    """The loss of the whole batch, and the mean of the losses of its shares."""

    def loss(share: slice) -> float:
        return task.loss(np.random.default_rng(1), torch.Generator().manual_seed(1), share)[0].item()

    return loss(WHOLE), float(np.mean([loss(slice(rank, None, of)) for rank in range(of)]))


def text_encoder() -> TextEncoder:
    torch.manual_seed(3)
    return TextEncoder(TextConfig(width=16, layers=1, heads=2, mlp=32, length=8, projection=8, vocab=32, bos=30, eos=31, pad=31))


TOKENS = torch.tensor([[30, 4, 5, 31, 31, 31, 31, 31], [30, 6, 31, 31, 31, 31, 31, 31], [30, 31, 31, 31, 31, 31, 31, 31]])


def test_the_shares_of_a_batch_add_up_to_the_whole_for_unet_and_vae() -> None:
    torch.manual_seed(0)
    run = RunConfig(steps=1, batch=6, lr=1e-3)
    table = CaptionTable(
        texts=("one", "two"), colour=np.array([-1, -1]), language=("en", "en"), ids=np.array([0, 1]),
        blocks=np.array([[0, *[2] * 12]]), cumulative=np.array([0.5, 1.0]), tokens=TOKENS.int(),
    )  # fmt: skip
    latents = Latents(torch.randn(5, 4, 8, 8).half(), np.zeros(5, np.int64), np.full(5, -1))
    config = UNetConfig(
        channels=(16, 32), attends=(False, True), heads=(2, 2), layers=1, context_dim=16, groups=8, sample_size=8
    )
    unet = UNetTask(config, run, SCHEDULES["cosine"](), latents, table, text_encoder(), drop=0.3)
    vae = VAETask(
        VAEConfig(channels=(8, 16), layers=1, groups=8, mid_attention=False), run, VAELoss(crop=16),
        np.random.default_rng(0).integers(256, size=(4, 32, 32, 4), dtype=np.uint8), np.arange(4),
    )  # fmt: skip
    for task in (unet, vae):
        whole, shares = mean_of_shares(task, 3)
        assert abs(whole - shares) < 1e-5 * abs(whole)


def test_remembered_states_are_the_text_encoder_s_own_however_few_are_kept() -> None:
    text = text_encoder()
    with torch.no_grad():
        truth = text(TOKENS).states
    for most in (0, 1, 2, 3):
        states = States(text, TOKENS.int(), most)
        for rows in ([0, 0, 1], [2, 1, 0], [1, 1, 2]):
            torch.testing.assert_close(states(torch.tensor(rows)).float(), truth[rows], atol=2e-3, rtol=0)
