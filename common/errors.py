"""The one root of a user's mistakes."""

from __future__ import annotations


class UserError(ValueError):
    """Something that was asked for cannot be had; the message is one sentence for the one who asked.

    It says what was wrong, what was expected and, where there is one, the nearest valid choice. The command line
    catches this class alone: it prints the sentence and exits with code 2.
    """
