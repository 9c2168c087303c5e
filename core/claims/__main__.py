"""`python -m core.claims [id ...]`: measure all claims on the embedded model and write CLAIMS.md, or only measure those named."""

import sys
import time
from pathlib import Path

from core import load_pipeline
from core.claims import CLAIMS
from core.claims.table import document, shown

FILE = Path(__file__).parents[2] / "CLAIMS.md"


def main(names: list[str]) -> None:
    if unknown := set(names) - set(CLAIMS):
        sys.exit(f"There is no claim {', '.join(sorted(unknown))}; there are {', '.join(CLAIMS)}.")
    pipe, findings = load_pipeline(device="cpu"), {}
    for claim in (CLAIMS[name] for name in names or CLAIMS):
        begun = time.perf_counter()
        finding = findings[claim.id] = claim.finding(pipe)
        seconds = time.perf_counter() - begun
        print(f"{claim.row:2} {claim.id}: {shown(finding.value, claim.unit)}: {finding.verdict} ({seconds:.0f} s)", flush=True)
    if not names:
        FILE.write_text(document(findings, pipe.hash), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
