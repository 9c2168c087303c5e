"""What only a fresh process can show: the time from its start to the first picture on the disk, and the memory it takes."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.measure import Result, ratio

ROOT = Path(__file__).resolve().parents[2]
PROMPT, STEPS = "a red apple", 20

PEER = """
import sys, torch
from diffusers import StableDiffusionPipeline
pipe = StableDiffusionPipeline.from_pretrained("assets/emoji-128")
pipe.set_progress_bar_config(disable=True)
pipe(sys.argv[1], num_inference_steps=int(sys.argv[2]), guidance_scale=5.0).images[0].save(sys.argv[3])
"""


def commands(out: Path) -> dict[str, list[str]]:
    ours = ["launch.py", "generate", PROMPT, "--steps", str(STEPS), "--sampler", "ddim", "--out", str(out), "--no-setup"]
    return {"ours exact": [sys.executable, *ours], "D0": [sys.executable, "-c", PEER, PROMPT, str(STEPS), str(out)]}


def once(command: list[str], out: Path) -> tuple[float, float, float]:
    """Run a command that writes a picture: wall seconds, CPU seconds, peak MB."""
    out.unlink(missing_ok=True)
    start = time.perf_counter()
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode or not out.exists():
        raise RuntimeError(f"no picture came of {' '.join(command[:3])} (exit code {child.returncode})")
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def start_to_picture(quick: bool, clock: str) -> list[Result]:
    """`launch.py generate` and the same with diffusers, in turn, each in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "picture.png"
        runs: dict[str, list[tuple[float, float, float]]] = {name: [] for name in commands(out)}
        for turn in range(3 if quick else 7):
            order = list(commands(out).items())
            for name, command in order if turn % 2 == 0 else reversed(order):
                runs[name].append(once(command, out))
    which = 0 if clock == "wall" else 1
    results = []
    for name, taken in runs.items():
        seconds = statistics.median(run[which] for run in taken)
        more = {"cpu_seconds": statistics.median(run[1] for run in taken), "peak_mb": max(run[2] for run in taken)}
        result = Result("start_to_picture", name, seconds, 0.0, True, len(taken), True, more=more,
                        note="pictures are compared in embedded_image; here each only has to be written")  # fmt: skip
        if name != "ours exact":
            result.ratios["ours exact"] = ratio([run[which] for run in taken], [run[which] for run in runs["ours exact"]])
        results.append(result)
    return results
