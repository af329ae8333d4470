"""Run an experiment: python main.py --runner MADESamplerRunner --config made_sampler.yml."""

from __future__ import annotations

import sys

from runners.cli import main

if __name__ == "__main__":
    sys.exit(main())
