"""Several processes, on one host or on many, that run the same program: what they agree on, and who writes.

They join by ``jax.distributed``. Every process computes on arrays that lie on the devices of all of them, so all have
to make the same calls: whatever follows from a clock is told by the first process to the others.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from common.errors import UserError
from runners.config.schema import UsageError
from runners.experiment import RunFailure

AUTO = "auto"  # in the place of an address: JAX asks SLURM, Open MPI, Kubernetes or the cloud
HEARTBEAT_S = 20  # after so long without a sign of life a process counts as lost
JOIN_S = 120  # how long a process waits for the others
_PORTS = range(1, 65536)

Result = TypeVar("Result")


def join(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Become one of several processes, if the command line says so; before JAX looks for devices.

    Raises UsageError where the flags do not go together, or the others cannot be found.
    """
    explicit = {"--num_processes": num_processes, "--process_id": process_id}
    given = [flag for flag, value in explicit.items() if value is not None]
    if coordinator is None:
        if given:
            raise UsageError(f"{given[0]} needs --coordinator HOST:PORT, the address of the first process, or auto")
        return
    if coordinator == AUTO and given:
        raise UsageError(f"{given[0]} does not go with --coordinator auto, which finds out by itself")
    if coordinator != AUTO:
        _check(coordinator, num_processes, process_id)
    address = None if coordinator == AUTO else coordinator
    jax.config.update("jax_enable_preemption_service", False)  # which would take a plain kill for a hint
    waiting = threading.Timer(JOIN_S, _give_up, [f"--coordinator {coordinator}: the processes do not find each other"])
    waiting.daemon = True
    waiting.start()
    try:
        jax.distributed.initialize(
            address, num_processes, process_id, initialization_timeout=2 * JOIN_S, heartbeat_timeout_seconds=HEARTBEAT_S
        )
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"--coordinator {coordinator}: the processes do not find each other: {reason}") from None
    finally:
        waiting.cancel()


def _give_up(message: str) -> None:
    """End the program: JAX would end it itself, and show where in its code."""
    print("error:", message, file=sys.stderr, flush=True)
    os._exit(2)


def _check(coordinator: str, num_processes: int | None, process_id: int | None) -> None:
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit() or int(port) not in _PORTS:
        raise UsageError(f"--coordinator {coordinator!r} should be HOST:PORT, such as 127.0.0.1:12345, or auto")
    if num_processes is None or process_id is None:
        raise UsageError("--coordinator HOST:PORT needs --num_processes N and --process_id I, from 0 to N - 1")
    if not 0 <= process_id < num_processes:
        raise UsageError(
            f"--process_id {process_id} should be from 0 to {num_processes - 1}, less than --num_processes"
        )


def several() -> bool:
    """Whether there are other processes."""
    return jax.process_count() > 1


def is_first() -> bool:
    """Whether this process is the one that reads states, writes and prints."""
    return jax.process_index() == 0


def by_first(action: Callable[[], Result]) -> Result | None:
    """What the first process gets from ``action``, which the others leave to it: None there.

    Of its UserError or RunFailure all are told, as one process that ends leaves the others waiting.
    """
    result, failure = None, None
    if is_first():
        try:
            result = action()
        except (UserError, RunFailure) as error:
            failure = error
    message = told(None if failure is None else str(failure))
    if failure is not None:
        raise failure
    if message is not None:
        raise RunFailure(message)
    return result


def agreed(value: float) -> float:
    """A number as the first process has it."""
    return float(multihost_utils.broadcast_one_to_all(np.float64(value))) if several() else value


def least(value: float) -> float:
    """The least that any process has of a number."""
    return float(np.min(multihost_utils.process_allgather(np.float64(value)))) if several() else value


def any_of(value: bool) -> bool:
    """Whether something is so in any process."""
    return least(0.0 if value else 1.0) == 0


def told(value: Any) -> Any:
    """A value that JSON can say as the first process has it."""
    if not several():
        return value
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    sent = text if is_first() else np.zeros(length, np.uint8)
    return json.loads(bytes(np.asarray(multihost_utils.broadcast_one_to_all(sent))))


def gathered(tree: Any) -> Any:
    """Arrays as this process can read them: those that lie on devices of others too as arrays of numpy."""

    def whole(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable or leaf.is_fully_replicated:
            return leaf
        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))

    return jax.tree.map(whole, tree)
