"""Time DenseNet-201 against torchvision's, and its solvers against its sequential pass: python -m benchmarks.densenet.

The weights are random, as torchvision draws them, with batch-norm statistics of photographs. A sweep is timed with
layers padded to a common width by groups, as shipped, and with all layers of a block padded to one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from benchmarks.limits import Limit, in_turn, product_timer, report, save
from models.densenet.fold import GROUP_SIZE
from models.densenet.model import DenseNet, DenseNetConfig
from models.densenet.systems import DenseBlockSystem, DenseNetSystem
from models.weights.load import load_checkpoint
from runners.measure.timing import CompiledSolve, Times, follow, time_calls
from runners.report.published import DENSENET201
from solvers import CachedSequential, Jacobi, Segmented, Solver, solve

NAME = "densenet201"
LARGEST = 2  # the block of 48 layers
MATRIX = 2048
CALLS = 5
PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket")
SOLVERS: dict[str, Solver] = {
    "jacobi": Jacobi(),
    "segmented(jacobi)": Segmented(Jacobi()),
    "segmented(cached_sequential)": Segmented(CachedSequential()),
}
IN_ORDER = "segmented(cached_sequential)"  # the solver that does what the sequential pass does
IN_ORDER_RATIO = 1.3
DIGITS = DenseNetConfig(8, (8, 16, 24), 16, 10, (28, 28, 1), stem="small", pixel_mean=(0.5,), pixel_std=(0.5,))


class Found(NamedTuple):
    """What a solver did."""

    status: str
    num_steps: int
    sweep_equivalents: float
    deviation: float  # of the logits from those of the sequential pass, at most
    same_top5: bool
    seconds: float  # of one solve
    compile_s: float


def reference() -> tuple[Any, DenseNet, Float[np.ndarray, "N H W C"]]:
    """The network of torchvision with calibrated statistics, ours with its weights, and photographs for both."""
    import torch
    from skimage import data
    from torchvision import models

    torch.manual_seed(0)
    theirs = models.get_model(NAME, weights=None)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        path = Path(folder) / f"{NAME}.pth"
        torch.save(theirs.state_dict(), path)
        ours = load_checkpoint(str(path), {"name": "densenet"}).model
        crops = [getattr(data, name)()[:224, left : left + 224] for name in PHOTOGRAPHS for left in (0, 200)]
        images = np.array(ours.from_images(jnp.asarray(np.stack(crops))))
        for module in theirs.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None  # the mean over all batches, of which there is one
        theirs.train()(torch.from_numpy(images.transpose(0, 3, 1, 2)))
        torch.save(theirs.eval().state_dict(), path)
        ours = load_checkpoint(str(path), {"name": "densenet"}).model
    return theirs, ours, images


def torch_logits(theirs: Any, image: Float[np.ndarray, "1 H W C"]) -> Callable[[], Float[np.ndarray, "1 K"]]:
    """A call of torchvision's network."""
    import torch

    given = torch.from_numpy(np.ascontiguousarray(image.transpose(0, 3, 1, 2)))

    def call() -> Float[np.ndarray, "1 K"]:
        with torch.inference_mode():
            logits: np.ndarray = theirs(given).numpy()
        return logits

    return call


def in_order_timers(network: Any, image: Float[Array, "1 H W C"]) -> dict[str, Callable[[], float]]:
    """The sequential pass, and the solver that takes the same layers in the same order, as one program each."""
    call, system = jax.jit(lambda network, x: network(x)), jax.jit(DenseNetSystem.of)(network, image)
    run = jax.jit(lambda system: solve(system, SOLVERS[IN_ORDER], throw=False))
    return {
        "sequential": lambda: time_calls(lambda: call(network, image), CALLS).median,
        IN_ORDER: lambda: time_calls(lambda: run(system), CALLS).median,
    }


def digits_timers() -> dict[str, Callable[[], float]]:
    """The same of a small network, such as reads digits."""
    network = DenseNet(DIGITS, rngs=nnx.Rngs(0)).fold()
    image = jax.random.normal(jax.random.key(0), (1, *DIGITS.image_shape))
    return {f"{name}, digits": timer for name, timer in in_order_timers(network, image).items()}


def block_timers(ours: DenseNet, features: Float[Array, "B H W C"]) -> dict[str, Callable[[], float]]:
    """The largest block by itself: its sequential pass, and one sweep with layers padded by groups or all to one width.

    All three begin from what the block's input contributes.
    """
    substitute = jax.jit(lambda system: system.block.substitute(system.opened, 0, system.num_equations))
    sweep = jax.jit(lambda system, x: system.sweep(x))
    grouped, common = (
        DenseBlockSystem.of(ours.fold(size).blocks[LARGEST], features)
        for size in (GROUP_SIZE, ours.config.block_layers[LARGEST])
    )
    x = substitute(grouped)
    return {
        "block, sequential": lambda: time_calls(lambda: substitute(grouped), CALLS).median,
        f"block, sweep by groups of {GROUP_SIZE}": lambda: time_calls(lambda: sweep(grouped, x), CALLS).median,
        "block, sweep of one width": lambda: time_calls(lambda: sweep(common, x), CALLS).median,
    }


def settled(system: DenseNetSystem, steps: int) -> int:
    """The number of Jacobi's sweeps after which the five largest logits stay the same, in their order."""
    sweep = jax.jit(lambda system, x: system.sweep(x))
    top = jax.jit(lambda system, x: jnp.argsort(-system.readout(x))[:, :5])
    x, answers = system.initial_guess(), []
    for _ in range(steps):
        x = sweep(system, x)
        answers.append(np.asarray(top(system, x)))
    return 1 + max((i + 1 for i, answer in enumerate(answers) if np.any(answer != answers[-1])), default=0)


def measure(rounds: int) -> tuple[dict[str, Times], dict[str, Found], dict[str, float]]:
    """Times by name, what the solvers did, and other figures."""
    theirs, ours, images = reference()
    image = jnp.asarray(images[:1])
    network = ours.fold()
    call_torch, call = torch_logits(theirs, images[:1]), jax.jit(lambda network, x: network(x))
    system = jax.jit(DenseNetSystem.of)(network, image)
    sweep, readout = jax.jit(lambda system, x: system.sweep(x)), jax.jit(lambda system, x: system.readout(x))
    logits, found, inputs = call(network, image), {}, system.first_inputs()
    for name, solver in SOLVERS.items():
        solve = CompiledSolve(system, solver)
        followed = follow(solve, lambda _: None)
        solution, seconds = followed.solution, followed.seconds
        solved = readout(system, solution.value)
        found[name] = Found(
            solution.outcome.label,
            int(solution.stats.num_steps),
            float(solution.stats.sweep_equivalents),
            float(jnp.max(jnp.abs(solved - logits))),
            bool(jnp.all(jnp.argsort(-solved)[:, :5] == jnp.argsort(-logits)[:, :5])),
            seconds,
            solve.compile_s,
        )
    for index in range(LARGEST):
        inputs = jax.jit(system.next_inputs, static_argnums=0)(index, inputs, solution.value[index])
    timers: dict[str, Callable[[], float]] = {
        "matrix_product": product_timer(MATRIX),
        "torchvision": lambda: time_calls(call_torch, CALLS).median,
        **in_order_timers(network, image),
        **digits_timers(),
        "sweep": lambda: time_calls(lambda: sweep(system, solution.value), CALLS).median,
        **block_timers(ours, inputs.features),
    }
    facts = {
        "deviation_from_torchvision": float(np.max(np.abs(np.asarray(logits) - call_torch()))),
        "sweeps_until_top5_settle": settled(system, system.num_equations),
        "published_sweeps_until_top5_settle": DENSENET201["settled"],
        **{f"padding_of_{name}": ratio for name, ratio in paddings(ours).items()},
    }
    return in_turn(timers, rounds), found, facts


def paddings(ours: DenseNet) -> dict[str, float]:
    """Multiply-adds of the largest block's padded 1x1 products over layers, in times of those that count."""
    sizes = {"groups": GROUP_SIZE, "one_width": ours.config.block_layers[LARGEST]}
    products = {name: ours.fold(size).blocks[LARGEST].product_sizes() for name, size in sizes.items()}
    return {name: padded / counting for name, (padded, counting) in products.items()}


def limits(times: dict[str, Times], found: dict[str, Found], facts: dict[str, float]) -> list[Limit]:
    """The figures that this benchmark is held against."""
    return [
        Limit("the sequential pass, in torchvision's", times["sequential"].median / times["torchvision"].median, 1.1),
        *(
            Limit(
                f"{IN_ORDER}, in sequential passes{of}",
                times[IN_ORDER + of].median / times["sequential" + of].median,
                IN_ORDER_RATIO,
            )
            for of in ("", ", digits")
        ),
        Limit("logits, deviation from torchvision's", facts["deviation_from_torchvision"], 1e-4),
        Limit("Jacobi's sweeps, of 98, and the check", found["jacobi"].num_steps, 99),
        Limit("blocks in order, their sweeps and their checks", found["segmented(jacobi)"].num_steps, 98 + 4),
        *(Limit(f"{name}, deviation of the logits from sequential", f.deviation, 1e-4) for name, f in found.items()),
        Limit("solvers with another top-5", float(sum(not f.same_top5 for f in found.values())), 0.0),
    ]


def main() -> int:
    """Measure, print, save; returns 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    times, found, facts = measure(options.rounds)
    held = limits(times, found, facts)
    steps = {name: solver.num_steps for name, solver in found.items()}
    report(f"{NAME}, 224 x 224, batch 1", times, steps, "block, sequential", held)
    for name, value in facts.items():
        print(f"{name}: {value:.4g}")
    for name, solver in found.items():
        print(f"{name}: {solver.status} after {solver.num_steps} steps, {solver.seconds:.2f} s")
    save("densenet", times, held, {"solvers": {name: f._asdict() for name, f in found.items()}, **facts})
    return 0 if all(limit.met for limit in held) else 1


if __name__ == "__main__":
    sys.exit(main())
