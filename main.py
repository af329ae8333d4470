"""Run an experiment: python main.py --config made_sampler.yml."""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # also where PYTHONSAFEPATH is set

from runners.cli.main import INTERRUPTED, main

if __name__ == "__main__":
    code = main()
    if code == INTERRUPTED or (code and any(flag.startswith("--coordinator") for flag in sys.argv)):
        # What the device was computing goes on, and an interpreter that is taken down beneath it may crash; and one of
        # several processes would wait for the others, which wait for it.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
