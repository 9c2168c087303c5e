"""`python -m tests.benchmarks`: our core and its peers in one process, with equal outputs or no ratio at all."""

from __future__ import annotations

import argparse
import gc
import json
import platform
import sys
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.curves import Curve, curves
from tests.benchmarks.measure import Result, Yardstick, compare
from tests.benchmarks.processes import start_to_picture
from tests.benchmarks.rows import ROWS

OTHERS = ("start_to_picture", "curves")
EMBEDDED = ("embedded_step", "embedded_decode", "embedded_image", "embedded_preview", "embedded_eight", "sampler_step", *OTHERS)
GROUPS = {"all": (*ROWS, *OTHERS), "embedded": EMBEDDED, "sd": tuple(name for name in ROWS if name.startswith("sd_"))}


def main() -> int:
    args = arguments()
    torch.set_flush_denormal(True)  # for everybody: denormals must not decide a race
    torch.manual_seed(0)
    yard = Yardstick(args.clock)
    results: list[Result] = []
    found: list[Curve] = []
    for name in args.rows:
        say(f"{name} …")
        if name == "curves":
            found = curves(yard)
        elif name == "start_to_picture":
            results += start_to_picture(args.quick, args.clock)
        else:
            contest = ROWS[name]()
            results += compare(name, contest, yard, args.rounds or contest.rounds[args.quick])
            del contest
        gc.collect()
    report = {
        "machine": machine(yard), "clock": args.clock, "quick": args.quick,
        "rows": [result.to_json() for result in results], "curves": [one.to_json() for one in found],
    }  # fmt: skip
    if args.json:
        args.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print("\n".join([*head(report["machine"]), "", *table(results), *table_of_curves(found)]))
    return 0 if all(result.equal for result in results) else 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    names = ", ".join([*GROUPS, *ROWS, *OTHERS])
    parser.add_argument("--rows", nargs="+", default=["all"], metavar="ROW", help=f"which rows, of {names}")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--rounds", type=int, help="so many rounds instead")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: this process's seconds, on a busy machine")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there, too")
    args = parser.parse_args()
    args.rows = [name for given in args.rows for name in GROUPS.get(given, (given,))]
    if unknown := set(args.rows) - set(GROUPS["all"]):
        parser.error(f"there is no row {min(unknown)!r}; there are {names}")
    return args


def machine(yard: Yardstick) -> dict[str, Any]:
    """What the figures were measured on."""
    cpu = next((line.split(":")[1].strip() for line in read("/proc/cpuinfo").splitlines() if line.startswith("model name")), "")
    pages = read("/sys/kernel/mm/transparent_hugepage/enabled").strip()
    return {
        "cpu": cpu or platform.processor(), "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(), "torch": torch.__version__, "python": platform.python_version(),
        "large_pages": pages,
        "product_gflops_fp32": round(yard.gflops(torch.float32)), "product_gflops_bf16": round(yard.gflops(torch.bfloat16)),
    }  # fmt: skip


def read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""


def head(machine: dict[str, Any]) -> list[str]:
    return [", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in machine.items())]


def table(results: list[Result]) -> list[str]:
    """Markdown: one line a contender; ratios are a peer's time by ours, so that more than 1 means that ours is faster."""
    if not results:
        return []
    lines = [
        "| row | contender | time | by ours (95 % interval) | GFLOP/s | of the product | off | rounds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in results:
        ratios = "; ".join(f"{x.median:.2f} ({x.low:.2f} to {x.high:.2f}) × {own}" for own, x in one.ratios.items())
        rate, share = (f"{one.gflops:.0f}", f"{one.share:.0%}") if one.gflops else ("", "")
        took = f"{one.seconds:.2f} s" if one.seconds >= 1 else f"{1000 * one.seconds:.2f} ms"
        took += "".join(f", {name.replace('_', ' ')} {value:.4g}" for name, value in one.more.items())
        rounds = f"{one.rounds}{'' if one.quiet else ', not quiet'}"
        cells = [one.row, one.contender, took, ratios if one.equal else "void", rate, share, f"{one.off:.1e}", rounds]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def table_of_curves(found: list[Curve]) -> list[str]:
    if not found:
        return []
    lines = ["", "| cost of … against size | sizes | milliseconds | exponent | theory |", "|---|---|---|---|---|"]
    for one in found:
        sizes, times = ", ".join(map(str, one.sizes)), ", ".join(f"{1000 * s:.3g}" for s in one.seconds)
        lines.append(f"| {one.name} | {sizes} | {times} | {one.exponent:.2f} | {one.theory:.2f}: {one.why} |")
    return lines


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
