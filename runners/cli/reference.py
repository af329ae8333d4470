"""Results that ship, in plot_data/reference, are of code that a commit holds."""

from __future__ import annotations

import os
from pathlib import Path

from common.paths import REFERENCE
from runners.config.schema import UsageError
from runners.report.commit import changed_files


def check_reference(out: Path) -> None:
    """Refuse to write among the results that ship while files differ from the commit. Raises UsageError."""
    if not Path(os.path.realpath(out)).is_relative_to(os.path.realpath(REFERENCE)):
        return
    changed = changed_files()
    if changed is None:
        raise UsageError(
            f"--out {out}: results that ship name the commit of their code, and this is no git repository; "
            "choose another folder"
        )
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise UsageError(
            f"--out {out}: results that ship name the commit of their code, and {changed[0]}{more} differ"
            f"{'' if more else 's'} from it; commit or remove it, or choose another folder"
        )
