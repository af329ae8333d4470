"""Messages that name the nearest valid choice."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: object, choices: Iterable[str]) -> str | None:
    """The choice that ``name`` was most likely meant to be, if any comes near."""
    by_folded = {choice.lower(): choice for choice in choices}
    matches = difflib.get_close_matches(str(name).lower(), by_folded, n=1, cutoff=0.5)
    return by_folded[matches[0]] if matches else None


def unknown(kind: str, name: object, choices: Iterable[str]) -> str:
    """One sentence: the name is not valid, which one was probably meant, which ones there are (near misses first)."""
    choices = list(choices)
    guess = nearest(name, choices)
    hint = f" did you mean {guess!r}?" if guess else ""
    ordered = difflib.get_close_matches(str(name), choices, n=len(choices), cutoff=0.0) if choices else []
    return f"unknown {kind} {str(name)!r};{hint} valid: {', '.join(ordered) or 'none'}"
