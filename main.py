"""Run an experiment: python main.py --config made_sampler.yml."""

from __future__ import annotations

import os
import sys
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # also where PYTHONSAFEPATH is set

from runners.cli.main import INTERRUPTED, has_joined_others, main


def _run() -> int:
    """The exit code; of one of several processes also where it is a fault of ours, which is shown."""
    try:
        return main()
    except Exception:
        if not has_joined_others():
            raise
        traceback.print_exc()
        return 1


if __name__ == "__main__":
    code = _run()
    if code == INTERRUPTED or (code and has_joined_others()):
        # What the device was computing goes on, and an interpreter that is taken down beneath it may crash; and one of
        # several processes would wait for the others, which wait for it.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
