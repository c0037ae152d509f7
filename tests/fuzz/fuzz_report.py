"""How much is fuzzed, and what came of it.

A few seconds of each in every run of the tests; `make fuzz` sets the variables for a night of it.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from synctalk.evaluation.machine import describe_machine

FILES = int(os.environ.get("SYNCTALK_FUZZ_FILES", "250"))
REQUESTS = int(os.environ.get("SYNCTALK_FUZZ_REQUESTS", "400"))
INPUTS = int(os.environ.get("SYNCTALK_FUZZ_INPUTS", "300"))  # of each parser
SEED = int(os.environ.get("SYNCTALK_FUZZ_SEED", "1"))
SECONDS = float(os.environ.get("SYNCTALK_FUZZ_SECONDS", "3600"))  # of files, of all requests
KEEP = Path(os.environ["SYNCTALK_FUZZ_KEEP"]) if "SYNCTALK_FUZZ_KEEP" in os.environ else None
RESULT = os.environ.get("SYNCTALK_FUZZ_RESULT", "")  # a line of JSON for each kind, if named


@dataclass
class Report:
    """What a run of a fuzzer found.

    Args:
        what: was tried.
        out_of_time: the time limit ended it before all that was wanted had been tried.
        outcomes: how many ended in which way.
        findings: one example of each thing that must not happen, by what it was.
    """

    what: str
    seed: int
    count: int = 0
    seconds: float = 0.0
    out_of_time: bool = False
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{self.count} {self.what}, seed {self.seed}, {self.seconds:.0f} s"]
        lines += ["ENDED BY THE TIME LIMIT"] * self.out_of_time
        lines += [f"{count:8d}  {name}" for name, count in self.outcomes.most_common()]
        lines += [f"FOUND {what}: {where}" for what, where in self.findings.items()]
        return "\n".join(lines)

    def publish(self) -> None:
        """Print it; keep it among the benchmarks' results when that is asked for."""
        print(f"\n{self}")
        if RESULT:
            line = json.dumps({**vars(self), "machine": asdict(describe_machine())})
            with open(RESULT, "a") as results:
                results.write(line + "\n")
