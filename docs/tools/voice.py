"""The table of drawn sound beside the voice that it should be."""

from __future__ import annotations

import json
from collections.abc import Sequence

from common.paths import ROOT
from docs.tools.results import markdown


def voice() -> str:
    """What draws are like by how much of the tail is kept, and what the voice's own stretches are like."""
    found = json.loads((ROOT / "benchmarks" / "voice.json").read_text())
    lines = []
    for each in found["heard"]:
        cells = [_shares(each["voiced"]), _shares(each["voiced_last"]), _range(each["apart_db"])]
        off = ", ".join(f"{value:.2g}" for value in each["off_each_second"].values())
        lines.append([f"`top_p: {each['head']['top_p']}`", *cells, _range(each["apart_last_db"]), off])
    least, most, away, last_least, last_most, last_away = (limit["bound"] for limit in found["limits"])
    own = [_shares((least, most)), _shares((last_least, last_most)), f"at most {away:.1f}", f"at most {last_away:.1f}"]
    lines.append(["the voice itself", *own, ""])
    classes = ", ".join(found["heard"][0]["off_each_second"])
    header = ["", "voiced in 3 s", "in the last second", "spectrum, dB from the voice's", "in the last second"]
    return markdown([*header, f"samples a second that are {classes} classes off or more"], lines)


def _shares(bounds: Sequence[float]) -> str:
    low, high = (f"{100 * bound:.0f}" for bound in bounds)
    return f"{low}%" if low == high else f"{low} to {high}%"


def _range(bounds: Sequence[float]) -> str:
    low, high = (f"{bound:.1f}" for bound in bounds)
    return low if low == high else f"{low} to {high}"
