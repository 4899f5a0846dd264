"""The devices of a training run, and how its arrays lie on them.

Over several devices a program is one program: XLA runs it on all of them, each with its share of every batch,
and adds up what they found (gradients, batch statistics, metrics). So the numbers are those of one device, to
rounding. Weights and data that fit are on every device; streamed batches are split. The devices are
``devices=`` of the call, those of ``keras.distribution.set_distribution``, or all of all processes once
``jax.distributed`` runs; otherwise there is one, and nothing here acts.
"""

import contextlib
import zlib
from collections.abc import Callable, Generator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, Literal

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from kilter._engine.processes import arrays_from_first, count, require_same
from kilter._models.variables import State, assign, variables
from kilter._text import warn_once
from kilter._validation import is_whole
from kilter.data.stored import StoredRows
from kilter.errors import OptionError

Devices = int | Literal["all"] | Sequence[Any] | None
ALL: Final = "all"
_AXIS: Final = "batch"
_COMPARED_ROWS: Final = 1024


@dataclass(frozen=True)
class Placement:
    """A mesh of devices, and the axis of it that batches are split over."""

    mesh: Mesh
    axis: str

    @property
    def shares(self) -> int:
        """Into how many parts a batch is split."""
        return self.mesh.shape[self.axis]

    @property
    def everywhere(self) -> NamedSharding:
        """The same array on every device."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def rows(self) -> NamedSharding:
        """Rows, split over the devices."""
        return NamedSharding(self.mesh, PartitionSpec(self.axis))

    @property
    def batches(self) -> NamedSharding:
        """Batches of rows, shape (batches, rows, ...), each split over the devices."""
        return NamedSharding(self.mesh, PartitionSpec(None, self.axis))

    def put(self, tree: Any) -> Any:
        """The arrays of ``tree`` on every device."""
        return jax.tree.map(lambda leaf: self._placed(leaf, self.everywhere), tree)

    def state(self, model: keras.Model, state: Any) -> Any:
        """A step's state on the devices: a variable as Keras's distribution lays it out, the rest on all."""
        if all(self._holds(leaf) for leaf in jax.tree.leaves(state)):
            return state
        if not isinstance(state, State):
            return self.missing(state)
        return State(
            *(
                [
                    leaf if self._holds(leaf) else self._placed(leaf, self._of_variable(variable))
                    for variable, leaf in zip(group, leaves, strict=True)
                ]
                for group, leaves in zip(variables(model), state, strict=True)
            )
        )

    def missing(self, tree: Any) -> Any:
        """The arrays of ``tree``; those that are not on the devices yet are put on every one."""
        return jax.tree.map(lambda leaf: leaf if self._holds(leaf) else self.put(leaf), tree)

    def split(self, batch: Any) -> Any:
        """In a program: the batch split by rows; each device computes all of one that does not divide."""

        def one(leaf: Any) -> Any:
            # XLA could pad uneven shares, but compiled without optimisation it lets the padding in (0.10.2).
            where = self.everywhere if leaf.shape[0] % self.shares else self.rows
            return lax.with_sharding_constraint(leaf, where)

        return jax.tree.map(one, batch)

    def joined(self, tree: Any) -> Any:
        """In a program: the arrays whole on every device."""
        return jax.tree.map(lambda leaf: lax.with_sharding_constraint(leaf, self.everywhere), tree)

    def block(self, block: Any) -> Any:
        """A block of rows on these devices; data that are not there yet are split by batch."""
        order = self.put(block.order)
        if all(self._holds(leaf) for leaf in jax.tree.leaves(block.data)):
            return block._replace(order=order)
        return block._replace(data=self._split(block.data, block.order.shape), order=order, split=True)

    def _split(self, data: Any, shape: tuple[int, int]) -> Any:
        """Rows in the order of their batches as (batches, rows, ...), each batch split if it divides."""

        def one(leaf: Any) -> Any:
            stacked = leaf.reshape(*shape, *leaf.shape[1:])
            return self._placed(stacked, self.everywhere if shape[1] % self.shares else self.batches)

        return jax.tree.map(one, data)

    def say_undivided(self, size: int) -> None:
        """Warn if whole batches of ``size`` rows do not divide, so that more devices are of no use."""
        if size % self.shares:
            warn_once(
                f"Batches of {size} rows cannot be split over {self.shares} devices, so each computes all of "
                f"them: take a multiple of {self.shares}."
            )

    def _placed(self, leaf: Any, sharding: Any) -> Any:
        if count() == 1:
            return jax.device_put(leaf, sharding)
        host = np.asarray(leaf)  # of a copy that every process has
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    def _holds(self, leaf: Any) -> bool:
        found = getattr(leaf, "sharding", None)
        return isinstance(found, NamedSharding) and found.mesh == self.mesh

    def _of_variable(self, variable: Any) -> Any:
        distribution = keras.distribution.distribution()
        if distribution is None or _chosen.get() is not None:
            return self.everywhere
        return distribution.get_variable_layout(variable).backend_layout


_chosen: ContextVar[Placement | None] = ContextVar("kilter_devices", default=None)


@contextlib.contextmanager
def on_devices(model: keras.Model, devices: Any = None) -> Generator[None]:
    """Within it the model trains on ``devices``; at the end its variables are on one again.

    ``devices``: how many, "all", or a list of them; None: those that Keras's distribution or
    ``jax.distributed`` says. Raises :class:`OptionError` for more than there are.
    """
    token = _chosen.set(_of_all_processes() if devices is None else _placement_of(chosen(devices)))
    placed = _chosen.get()
    if placed is not None and count() > 1:  # a callback's call: Keras cannot build on others' arrays
        _gather(model)
    try:
        yield
    finally:
        _chosen.reset(token)
        if placed is not None:
            _gather(model)


def chosen(devices: Any) -> list[Any]:
    """The devices that ``devices`` names. Raises :class:`OptionError` if there are not so many."""
    found = jax.devices()
    if devices == ALL:
        return found
    if count() > 1:
        raise OptionError(
            expected='devices="all" for several processes, which use all of theirs',
            received=f"devices={devices!r}",
            remedy="leave it out",
        )
    if isinstance(devices, Sequence) and not isinstance(devices, str):
        if devices and all(isinstance(one, jax.Device) for one in devices):
            return list(devices)
    elif is_whole(devices, 1) and int(devices) <= len(found):
        return found[: int(devices)]
    raise OptionError(
        expected=f'devices as "all", a number from 1 to {len(found)}, or a list of jax.devices()',
        received=f"devices={devices!r}",
        remedy=f"JAX finds {len(found)} × {found[0].device_kind}: pass --devices {len(found)} for a "
        f"run that was started on more (in Python devices={len(found)}); for tests on a CPU set "
        "XLA_FLAGS=--xla_force_host_platform_device_count=N before Python starts",
    )


def placement() -> Placement | None:
    """Where the arrays of the current call are; None on one device."""
    if (held := _chosen.get()) is not None:
        return held
    distribution: Any = keras.distribution.distribution()
    mesh = None if distribution is None else distribution.device_mesh
    if distribution is None or mesh is None or mesh.devices.size == 1:
        return None
    return Placement(mesh.backend_mesh, distribution.batch_dim_name or mesh.axis_names[0])


def start_alike(model: keras.Model, feed: Any) -> None:
    """Of several processes: give the model the variables of process 0, and :func:`require_same_rows`.

    Each draws its own initial weights unless they are seeded; XLA does not look whether what should be the
    same is.
    """
    if placement() is None or count() == 1:
        return
    require_same_rows(feed)
    group = [variable for group in variables(model) for variable in group]
    values = arrays_from_first([np.asarray(variable.value) for variable in group])
    assign((variable, jnp.asarray(value)) for variable, value in zip(group, values, strict=True))


def require_same_rows(feed: Any) -> None:
    """Of several processes: raise :class:`DataError` unless each has the same rows, in the same order."""
    if placement() is not None and count() > 1:
        what = "rows, batch size and seed"
        require_same(_digest(feed), what, "give every process the same; each takes its share of a batch")


def _digest(feed: Any) -> int:
    """CRC-32 of evenly spaced rows of a feed; of rows that are read in blocks, or of batches, the first."""
    rows = getattr(feed, "rows", None)
    found = zlib.crc32(repr(feed.order).encode())
    for leaf in jax.tree.leaves(feed.example() if rows is None else rows.data):
        last = leaf.shape[0] - 1
        if isinstance(leaf, StoredRows):
            last = min(last, leaf.block_rows - 1)
        places = np.unique(np.linspace(0, last, _COMPARED_ROWS).astype(np.int64))
        piece = np.ascontiguousarray(leaf[places])
        found = zlib.crc32(piece.tobytes(), zlib.crc32(f"{leaf.shape}{piece.dtype}".encode(), found))
    return found


@dataclass(frozen=True)
class Kept:
    """What holds a program's arrays in their places: the state's, by leaf, and the batch's."""

    placement: Placement
    state: tuple[Any, ...]

    @classmethod
    def of(cls, placed: Placement | None, state: State) -> "Kept | None":
        """The places of the state's leaves now; None on one device."""
        return None if placed is None else cls(placed, tuple(one.sharding for one in jax.tree.leaves(state)))

    def named(self, name: Any, split: bool) -> tuple[Any, ...]:
        """The name of a program with these places, which begins like that of the same one without."""
        return (*(name if isinstance(name, tuple) else (name,)), self, split)

    def carry(self, state: Any, turned: Sequence[bool]) -> Any:
        """The state of a loop where it was at the start; ``turned``: leaves that are stored transposed."""
        leaves, structure = jax.tree.flatten(state)
        held = [
            lax.with_sharding_constraint(leaf, _turned(sharding, leaf.ndim) if one else sharding)
            for leaf, sharding, one in zip(leaves, self.state, turned, strict=True)
        ]
        return jax.tree.unflatten(structure, held)


def kept_in_place(step: Callable[..., Any], kept: Kept | None, turned: Sequence[bool]) -> Callable[..., Any]:
    """A step ``(state, batch, ...) -> (state, logs)`` whose batch is split and whose state stays in place."""
    if kept is None:
        return step

    def held(state: Any, batch: Any, *given: Any) -> Any:
        new, logs = step(state, kept.placement.split(batch), *given)
        return kept.carry(new, turned), logs

    return held


def _turned(sharding: NamedSharding, rank: int) -> NamedSharding:
    axes = [*sharding.spec, *[None] * (rank - len(sharding.spec))]
    return NamedSharding(sharding.mesh, PartitionSpec(*reversed(axes)))


def _placement_of(devices: Sequence[Any]) -> Placement | None:
    return None if len(devices) == 1 else Placement(Mesh(np.array(devices), (_AXIS,)), _AXIS)


def _of_all_processes() -> Placement | None:
    distribution: Any = keras.distribution.distribution()
    if count() == 1:
        return _chosen.get()
    if distribution is None:
        return _placement_of(jax.devices())
    mesh = distribution.device_mesh.backend_mesh
    owners = {device.process_index for device in mesh.devices.flat}
    if isinstance(distribution, keras.distribution.ModelParallel) and len(owners) > 1:
        raise OptionError(
            expected="DataParallel, or ModelParallel over the devices of one process",
            received=f"keras.distribution.ModelParallel over {len(owners)} processes",
            remedy="leave set_distribution out: each batch is then split over all devices; or split the "
            "weights over jax.local_devices() alone",
        )
    return _chosen.get()


def _gather(model: keras.Model) -> None:
    """The model's variables on one device of this process, where the rest of the program has its arrays."""
    for variable in (one for group in variables(model) for one in group):
        value = variable.value
        if isinstance(value, jax.Array) and isinstance(value.sharding, NamedSharding):
            assign([(variable, value.addressable_data(0))])
