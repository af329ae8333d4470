"""Messages that name the nearest valid choice."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_NEAR = 0.6  # difflib's own measure of a close match


def nearest(name: object, choices: Iterable[str]) -> str | None:
    """The choice that ``name`` was most likely meant to be, if any comes near."""
    best = max(choices, key=lambda choice: _likeness(name, choice), default=None)
    return best if best is not None and _likeness(name, best) >= _NEAR else None


def unknown(kind: str, name: object, choices: Iterable[str]) -> str:
    """One sentence: the name is not valid, which one was probably meant, which ones there are (near misses first)."""
    choices = sorted(choices, key=lambda choice: -_likeness(name, choice))
    guess = nearest(name, choices)
    hint = f" did you mean {guess!r}?" if guess else ""
    return f"unknown {kind} {str(name)!r};{hint} valid: {', '.join(choices) or 'none'}"


def lacks(missing: Iterable[str], own: Iterable[str]) -> str:
    """The end of a sentence: which names are missing, and the one of its ``own`` that was likely meant as the first."""
    missing = sorted(missing)
    like = nearest(missing[0], [name for name in own if not name.startswith("_")])
    hint = f" (it has {like}; is that meant to be {missing[0]}?)" if like else ""
    return f"it lacks {', '.join(missing)}{hint}"


def _likeness(name: object, choice: str) -> float:
    """From 0, nothing in common, to 1; capitals and punctuation at the ends do not count."""
    given, wanted = (text.strip("-_./ ").lower() for text in (str(name), choice))
    return difflib.SequenceMatcher(None, wanted, given).ratio()
