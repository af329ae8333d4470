"""Which runner a config is for: the config says it, and --runner agrees."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from runners import RUNNERS
from runners.config.files import apply_overrides, read_config
from runners.config.schema import UsageError


def choose_runner(asked: str | None, path: Path, overrides: Sequence[str] = ()) -> str:
    """The runner's name: ``asked`` by --runner, or else the config's or an override's ``runner``.

    Raises UserError where there is no runner of that name, no name at all, or the config is for another runner.
    """
    if asked is not None:
        RUNNERS.check(asked)
    own = [override for override in overrides if override.startswith("runner=")]
    said = apply_overrides(read_config(path), own).get("runner")
    if said is None and asked is None:
        raise UsageError(
            f"{path.name} does not say which runner it is for: add a line 'runner: NAME' to it, or give --runner; "
            f"valid: {', '.join(RUNNERS)}"
        )
    if said is not None:
        RUNNERS.check(said)
    if said is not None and asked is not None and not _takes(asked, said):
        raise UsageError(f"{path.name} is for {said}, not {asked}")
    return str(said if asked is None else asked)


def _takes(asked: str, said: str) -> bool:
    """Whether a runner takes the configs of another: it is the same class or a more general one with the same keys."""
    if asked == said:
        return True
    general, special = RUNNERS[asked], RUNNERS[said]
    return issubclass(special, general) and special.Config is general.Config
