"""The help that comes with Python: half a million characters of English about one subject."""

from __future__ import annotations

from pydoc_data.topics import topics

from data.text.passages import Text, passages_by_hash

# Quotation marks, dashes and dots, in the characters of a keyboard.
_PLAIN = str.maketrans({0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"', 0x2013: "-", 0x2014: "-", 0x2026: "..."})


def load_topics(*, held_out: float | None = None) -> Text:
    """The topics of ``help()``, in the ASCII characters, in a training and a held-out part as ``load_text`` makes them.

    The text is that of the Python that runs, so another version has another. ``held_out``: the share of the different
    paragraphs that are held out; ``None`` is 0.1.
    """
    whole = "\n\n".join(topics[name].strip("\n") for name in sorted(topics)) + "\n"
    return passages_by_hash("topics", whole.translate(_PLAIN).encode("ascii", "ignore"), held_out)
