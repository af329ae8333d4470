"""Which solver for which system: one tree of questions, which a picture and a table show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Advice:
    """The solvers to try, the first of them first, and the reason."""

    solvers: tuple[str, ...]
    because: str


@dataclass(frozen=True)
class Question:
    """A question, and for each of its answers what comes next."""

    text: str
    answers: tuple[tuple[str, Question | Advice], ...]


MARKOV = Question(
    "Is f_t linear in x_{t-1}?",
    (
        (
            "linear (an RNN's backward pass, LRU, minGRU)",
            Advice(("parallel_scan",), "one prefix scan is the answer"),
        ),
        (
            "not linear",
            Question(
                "What happens to a small change of an early state?",
                (
                    (
                        "it fades (RNNs that forget, contractions)",
                        Advice(("newton", "quasi_newton"), "few steps; the second for 8 features or more"),
                    ),
                    (
                        "it stays; an equation changes x little (small time steps, layers, diffusion)",
                        Advice(("picard", "triangular_anderson", "newton"), "the Jacobian is near the identity"),
                    ),
                    (
                        "it stays; a coarse version of f is at hand",
                        Advice(("parareal",), "blocks side by side, joined by the coarse version"),
                    ),
                    (
                        "it grows (chaos)",
                        Advice(("cached_sequential",), "no parallel solver takes few steps"),
                    ),
                ),
            ),
        ),
    ),
)
GENERAL = Question(
    "Do all T equations fit into memory at once?",
    (
        (
            "all T equations fit",
            Advice(
                ("jacobi", "cached_sequential"),
                "a step evaluates all of them; if it takes long, as in PixelCNN++, try the cache too",
            ),
        ),
        ("they do not fit", Advice(("sliding_gs_jacobi", "gs_jacobi"), "a step evaluates a window")),
        (
            "they have different shapes (layers, a flow's blocks)",
            Advice(("segmented",), "one segment after another, each by a solver of its own"),
        ),
    ),
)
CHOICE = Question(
    "Where does it run?",
    (
        (
            "on a CPU, where time follows the total work",
            Question(
                "Can it continue from a cache, as a KV cache lets a transformer?",
                (
                    ("with a cache", Advice(("cached_sequential",), "all T equations cost about one sweep")),
                    ("without a cache", Advice(("jacobi",), "fewer sweeps than one for each equation")),
                ),
            ),
        ),
        (
            "on a GPU or TPU, where time is steps times what a step costs",
            Question(
                "Which states does x_t read?",
                (("only x_{t-1} (a system of order one)", MARKOV), ("any of x_0 .. x_{t-1}", GENERAL)),
            ),
        ),
    ),
)
# What to try where the solver that the tree names meets a difficulty.
INSTEAD = (
    ("the steps of newton or quasi_newton overflow", ("elk", "quasi_elk")),
    ("the Jacobians of all T equations do not fit into memory", ("windowed",)),
    ("blocks depend weakly on each other, and a cache is at hand", ("jacobi_gs",)),
    ("the system is small, and derivatives are cheap", ("dense_newton",)),
)
# Solvers that are there to be compared with: no branch of the tree leads to them.
COMPARED = ("sequential", "anderson")


def advice(node: Question | Advice = CHOICE, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Advice]]:
    """Every advice of the tree, with the answers that lead to it."""
    if isinstance(node, Advice):
        yield path, node
    else:
        for answer, then in node.answers:
            yield from advice(then, (*path, answer))
