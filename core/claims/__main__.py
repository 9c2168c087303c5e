"""`python -m core.claims [--write] [id ...]`: measure all claims on the embedded model and write CLAIMS.md, or only those named.

Of those named only the entries are written, where asked, and where the file was measured on the same weights.
"""

import sys
import time
from pathlib import Path

from core import load_pipeline
from core.claims import CLAIMS
from core.claims.table import document, renewed, shown

FILE = Path(__file__).parents[2] / "CLAIMS.md"


def main(words: list[str]) -> None:
    names = [word for word in words if word != "--write"]
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
    elif "--write" in words:
        text = FILE.read_text(encoding="utf-8")
        if f"(weights {pipe.hash})" not in text:
            sys.exit(f"{FILE.name} was measured on other weights than {pipe.hash}: measure all.")
        for name, finding in findings.items():
            text = renewed(text, CLAIMS[name], finding)
        FILE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
