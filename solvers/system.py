"""The protocols of systems: where solvers and models meet.

A feedforward computation is a lower-triangular system of nonlinear equations

    x_t = f_t(x_0, ..., x_{t-1}),    t = 0 .. T-1.

Its state ``X`` is a pytree. A leaf has a leading axis of equations, then the batch axis, then features; a leaf with one
axis only is a batch of one. Either all leaves share the leading length T (components of the same equations), or their
leading lengths add up to T (segments, numbered in the order of the leaves).

Noise and inputs are bound inside a system, so f is deterministic: the same noise gives the same solution under every
solver. Systems are registered pytrees, whose weights and noise are leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

from jaxtyping import Array, Float, Int

from .trees.blocks import Start

X = TypeVar("X")
Cache = TypeVar("Cache")


@runtime_checkable
class TriangularSystem(Protocol[X]):
    """A system that evaluates all its equations in parallel, as Jacobi-type solvers need it."""

    @property
    def num_equations(self) -> int:
        """T, the number of equations; static."""

    def initial_guess(self) -> X:
        """The state that iterations begin with, and that guesses which are not finite are reset to."""

    def sweep(self, x: X) -> X:
        """F(x): every equation evaluated once on the guesses x. F(x)_t depends on x_0 .. x_{t-1} only."""


EQUATIONS, BATCH = "equations", "batch"  # the axes of a state, by which meshes of devices name theirs


@runtime_checkable
class Undivided(Protocol):
    """A system, or a network in one, with axes of its state that devices cannot share."""

    @property
    def undivided(self) -> Mapping[str, str]:
        """By the name of such an axis the reason, which ends a sentence: "equations of ... cannot be divided: ..."."""


@runtime_checkable
class Divisible(Protocol):
    """A system, or a network in one, that says how its arrays may be divided among devices.

    Solvers never ask: where the arrays lie is for whoever puts them there. Of a system that does not say it, what has
    leading axes of equations and batch, as its state has, is divided, and anything else is whole on every device; of a
    network that does not, all is whole.
    """

    def partition_specs(self) -> Any:
        """The same with a ``jax.sharding.PartitionSpec`` in the place of each array, of the axes named above."""


@runtime_checkable
class BlockSystem(TriangularSystem[X], Protocol[X, Cache]):
    """A system that evaluates its equations block by block, with a cache that stands for the prefix.

    The cache is a plain pytree, an argument and a result. Committing it is the solver's decision: GS-Jacobi iterates a
    block from one cache and keeps the returned one only when the block has converged.
    """

    @property
    def block_unit(self) -> int:
        """The unit of blocks: they start at its multiples, and are 1 or a multiple of it long."""

    def init_cache(self) -> Cache:
        """The cache of an empty prefix (or of a prompt)."""

    def update(self, x: X, cache: Cache, start: Start, size: int) -> tuple[X, Cache]:
        """Equations [start, start + size), given the cache of the prefix [0, start) and the guesses inside the block.

        ``x`` has leaves (size, batch, ...): the guesses. Returns the block's values and the cache of the prefix
        [0, start + size), which is right when the guesses were. ``size`` is static, and ``start`` a multiple of it.
        With ``size`` 1 the guess is not read at all: x_t needs x_0 .. x_{t-1} only. ``start + size`` may pass T;
        equations from T on are padding. Take inputs with ``take_block`` of trees/blocks.py: a bare ``dynamic_slice``
        would move the last block's start back.
        """

    def prefix_caches(self, x: X, block_size: int) -> Cache:
        """The caches at starts 0, block_size, 2 * block_size, ... (a new leading axis), from one sweep over ``x``."""


@runtime_checkable
class GuessingSystem(TriangularSystem[X], Protocol[X]):
    """A system that foresees values which solvers have not found yet; any system may have this beside the rest.

    Predictive sampling (Wiggers and Hoogeboom, ICML 2020, arXiv 2002.09928) and lookahead decoding (Fu et al., ICML
    2024, arXiv 2402.02057) are Jacobi's iteration with such guesses.
    """

    def guess(self, x: X, y: X, frontier: Int[Array, " B"]) -> X:
        """The guesses for the next step, from the state x that the last step began with and y, with which it ended.

        The first ``frontier`` equations of y are exact. The loop takes what stands behind them and nothing else, so
        that neither the answer nor the number of steps after which a solver terminates depends on guesses. It does not
        ask where what stands there is the first guess still, and passes over what is not finite.
        """


@runtime_checkable
class CountedGuessingSystem(GuessingSystem[X], Protocol[X]):
    """A guessing system whose guesses cost work, with which the work of solvers is counted."""

    @property
    def guess_sweeps(self) -> float:
        """The work of one call of ``guess``, in units of a full sweep."""


@runtime_checkable
class SizedBlockSystem(BlockSystem[X, Cache], Protocol[X, Cache]):
    """A block system that says how long blocks should be where a solver's options do not.

    For systems that know better than ``default_block_size`` of solvers/blocks.py, which takes about sqrt(T).
    """

    @property
    def default_block_size(self) -> int:
        """The length of a block in equations, a multiple of the block unit."""


@runtime_checkable
class SlidingBlockSystem(BlockSystem[X, Cache], Protocol[X, Cache]):
    """A block system whose block may overlap the one before, as it moves on by less than its length."""

    def slide(self, x: X, cache: Cache, start: Start, size: int, keep: Start) -> tuple[X, Cache]:
        """Values as ``update`` gives them, and the cache of the prefix [0, start + keep).

        The cache is right when the first ``keep`` guesses were. ``keep`` is a multiple of the block unit, from 0 to
        ``size``, and need not be static. ``start`` is any multiple of the unit, and the block does not pass T.
        """


@runtime_checkable
class ForwardSubstitution(BlockSystem[X, Cache], Protocol[X, Cache]):
    """A block system with a cached pass of its own that is faster than one ``update`` an equation.

    It must give the values of ``size`` calls of ``update(..., size=1)``; the tests hold the two together.
    """

    def forward_substitution(self, cache: Cache, start: Start, size: int) -> tuple[X, Cache]:
        """The exact values of equations [start, start + size) and the cache after them."""


@runtime_checkable
class SegmentedSystem(TriangularSystem[X], Protocol[X]):
    """A system whose state is a tuple of segments, each a system by itself once the segments before it are known.

    Segments may differ in shape. What a segment reads of those before it is a pytree of the system's choice.
    """

    @property
    def num_segments(self) -> int:
        """The number of segments, static."""

    def first_inputs(self) -> Any:
        """The inputs that segment 0 reads."""

    def next_inputs(self, index: int, inputs: Any, values: Any) -> Any:
        """The inputs that segment ``index + 1`` reads, from the inputs of segment ``index`` and its values."""

    def segment(self, index: int, inputs: Any) -> TriangularSystem[Any]:
        """The equations of segment ``index``, whose state is the segment's."""


@runtime_checkable
class MarkovSystem(TriangularSystem[X], Protocol[X]):
    """A system of order one, x_t = transition(x_{t-1}, t), as Newton-type solvers and prefix scans need it."""

    @property
    def initial_state(self) -> X:
        """The state before equation 0: leaves (batch, ...), without the axis of equations."""

    def transition(self, previous: X, t: Int[Array, ""]) -> X:
        """Equation t: the state that follows ``previous``."""


@runtime_checkable
class VectorizedMarkovSystem(MarkovSystem[X], Protocol[X]):
    """An order-one system that evaluates many transitions in one call, which is cheaper than one by one.

    ``previous`` has leaves (size, batch, ...), whose row i is the state that equation start + i reads. Equations past T
    are padding, whose values are not read. Every ``systems.recurrence.Recurrence`` is one.
    """

    def transitions(self, previous: X, start: Start) -> X:
        """Equations start, start + 1, ...: the states that follow each of ``previous``."""


@runtime_checkable
class LinearizedMarkovSystem(VectorizedMarkovSystem[X], Protocol[X]):
    """An order-one system with derivatives of its own, which are cheaper than D derivatives of ``transition``.

    D counts the features of a state: its leaves' features in the order of the leaves. Those of a complex state are
    complex derivatives, where its transitions have such. The tests hold the derivatives
    against those of ``transition``. solvers/linear/linearize.py reads any MarkovSystem this way.
    """

    def jacobians(self, previous: X, start: Start) -> tuple[X, Float[Array, "S B D D"]]:
        """The transitions and their Jacobians, [.., i, j] = d f_i / d x_j."""

    def jacobian_diagonals(self, previous: X, start: Start) -> tuple[X, Float[Array, "S B D"]]:
        """The transitions and the diagonals of their Jacobians, in O(size * D) memory."""


@runtime_checkable
class StructuredMarkovSystem(VectorizedMarkovSystem[X], Protocol[X]):
    """An order-one system that tells what stands for its Jacobians, in the form that is natural to it.

    For units that do not read one another, for leapfrog steps, for whatever is worth more than a diagonal and costs
    less than a full matrix. Where they are not the Jacobians themselves, solvers take more steps, to the same solution.
    """

    def structured_jacobians(self, previous: X, start: Start) -> tuple[X, Float[Array, "S B *F"]]:
        """The transitions, and diagonals (S, B, D), full matrices (S, B, D, D), or blocks (S, B, K, N, N).

        Features are counted as in LinearizedMarkovSystem. Blocks are the entries among N features, D = N K: feature
        j K + k is entry j of block k. So in a state of N leaves of K features each, block k is that of unit k.
        """


@runtime_checkable
class CoarseMarkovSystem(MarkovSystem[X], Protocol[X]):
    """An order-one system that foresees many equations at once, cheaply and not exactly, such as by one large step."""

    def coarse(self, previous: X, start: Start, size: int) -> X:
        """About the state of equation start + size - 1, from the state before equation start; leaves (batch, ...)."""


@runtime_checkable
class AffineMarkovSystem(MarkovSystem[X], Protocol[X]):
    """An order-one system that is linear in the state, x_t = A_t x_{t-1} + b_t, which one prefix scan solves."""

    def affine(self) -> tuple[Float[Array, "T B *F"], Float[Array, "T B D"]]:
        """The matrices A and the offsets b, for the features of a state as in LinearizedMarkovSystem.

        A is full, (T, B, D, D); of a real state it may also be diagonal or in blocks, as in StructuredMarkovSystem.
        """
