"""The program as fuzzers call it: in this process, with what it says caught and judged."""

from __future__ import annotations

import contextlib
import io
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from runners.cli.main import main

SHOWN = 6000  # letters of a fault


@dataclass(frozen=True)
class Outcome:
    """How a call ended; ``code`` is None where an exception came through, which ``trace`` then shows."""

    code: int | None
    out: str
    err: str
    trace: str = ""

    @property
    def fault(self) -> str | None:
        """What is wrong with it whatever was asked: a traceback, or a failure that is not said in a last line."""
        if self.code is None:
            return self.trace
        if self.code == 0:
            return None
        last = self.err.splitlines()[-1] if self.err.strip() else ""
        if not last.startswith("error: ") or len(last) < 12:
            return f"exit {self.code} and no sentence: {self.err[-300:]!r}"
        return None


class TooLongError(BaseException):
    """A call that did not end in its time; a BaseException, so that nothing on the way takes it for its own."""


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise TooLongError in the body after so many seconds of the processor's time, or five times as many of any.

    On a machine that others use too the clock on the wall says little.
    """

    def late(*_: object) -> None:
        raise TooLongError(f"not done after {seconds:g} s")

    timers = {signal.ITIMER_PROF: (signal.SIGPROF, seconds), signal.ITIMER_REAL: (signal.SIGALRM, 5 * seconds)}
    before = {number: signal.signal(number, late) for number, _ in timers.values()}
    for timer, (_, limit) in timers.items():
        signal.setitimer(timer, limit)
    try:
        yield
    finally:
        for timer in timers:
            signal.setitimer(timer, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def call(arguments: Sequence[str], seconds: float = 60.0) -> Outcome:
    """Run the program's ``main`` and say how it ended."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2)]
    trace, code = "", None
    with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
        try:
            with limited(seconds):
                code = main(arguments)
        except (Exception, SystemExit, TooLongError):
            trace = traceback.format_exc()
    out, err = (stream.buffer.getvalue().decode("utf-8", "replace") for stream in streams)  # type: ignore[attr-defined]
    return Outcome(code, out, err, trace)


def fuzz(what: str, case: Callable[[int, int], tuple[str, str | None]], usual: int) -> int:
    """``python -m tests.fuzz.NAME [N] [SEED]``: run cases until there are N, print how they ended; the exit code.

    ``case(seed, number)`` gives the kind of its outcome and what is wrong with it, if anything is.
    """
    count, seed = ([int(text) for text in sys.argv[1:3]] + [usual, 0][len(sys.argv[1:3]) :])[:2]
    kinds: dict[str, int] = {}
    faults, start = 0, time.monotonic()
    for number in range(count):
        kind, fault = case(seed, number)
        kinds[kind] = kinds.get(kind, 0) + 1
        if fault is not None:
            faults += 1
            print(f"--- case {number} of seed {seed}: {fault[:SHOWN]}", flush=True)
    ends = ", ".join(f"{kinds[kind]} {kind}" for kind in sorted(kinds))
    print(f"{count} {what}, seed {seed}: {ends}; {faults} faults; {time.monotonic() - start:.0f} s")
    return 1 if faults else 0
