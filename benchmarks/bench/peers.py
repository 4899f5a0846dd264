"""Who is measured: each peer's program, options and virtual environment, made from a pinned file."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
ENVIRONMENTS = HERE.parent / ".venvs"

# Settings that would change how a peer runs "as it comes".
SETTINGS_LEFT_OUT = (
    "KERAS_BACKEND",
    "XLA_FLAGS",
    "JAX_PLATFORMS",
    "JAX_COMPILATION_CACHE_DIR",
    "OMP_NUM_THREADS",
    "TF_XLA_FLAGS",
    "PYTHONPATH",
)


@dataclasses.dataclass(frozen=True)
class Peer:
    """One way to train the same network.

    ``module`` is run with ``python -m`` in ``environment`` (a folder under .venvs with
    ``peers/<environment>.txt`` for its requirements; None is the Python that runs the driver, kilter's
    own). ``probes``: the driver first looks for its best ``steps_per_execution``.
    """

    name: str
    module: str
    environment: str | None
    variables: tuple[tuple[str, str], ...] = ()
    arguments: tuple[str, ...] = ()
    probes: bool = False
    note: str = ""


PEERS = (
    Peer("kilter", "peers.kilter_fit", None),
    Peer(
        "kilter-uint8",
        "peers.kilter_fit",
        None,
        arguments=("--compact",),
        note="uint8 input, scaled in the model",
    ),
    Peer("scan", "peers.scan", None, (("KERAS_BACKEND", "jax"),), note="plain lax.scan, a yardstick"),
    Peer("keras-jax", "peers.keras_fit", "keras-jax", (("KERAS_BACKEND", "jax"),)),
    Peer("keras-jax-best", "peers.keras_fit", "keras-jax", (("KERAS_BACKEND", "jax"),), probes=True),
    Peer("keras-tensorflow", "peers.keras_fit", "keras-tensorflow", (("KERAS_BACKEND", "tensorflow"),)),
    Peer("keras-torch", "peers.keras_fit", "keras-torch", (("KERAS_BACKEND", "torch"),)),
    Peer("torch", "peers.plain_torch", "torch", note="NAdam, foreach"),
    Peer("lightning", "peers.lightning_fit", "lightning"),
)
REFERENCE = "kilter"


def with_steps_per_execution(peer: Peer, steps: int) -> Peer:
    """The same peer with Keras's ``steps_per_execution`` fixed, and said in its note."""
    arguments = (*peer.arguments, "--steps-per-execution", str(steps))
    return dataclasses.replace(peer, arguments=arguments, probes=False, note=f"steps_per_execution={steps}")


def python_of(peer: Peer) -> Path:
    """The interpreter of a peer's environment, whether or not it has been made."""
    if peer.environment is None:
        return Path(sys.executable)
    return ENVIRONMENTS / peer.environment / "bin" / "python"


def make_environment(peer: Peer) -> None:
    """Make the peer's virtual environment unless it stands with these very requirements.

    The requirements are copied into the environment when the installation is complete, so an interrupted or
    outdated one is made again. Raises :class:`subprocess.CalledProcessError` where pip fails.
    """
    if peer.environment is None:
        return
    folder, wanted = ENVIRONMENTS / peer.environment, HERE / "peers" / f"{peer.environment}.txt"
    stamp = folder / "installed.txt"
    if stamp.exists() and stamp.read_text() == wanted.read_text():
        return
    print(f"making {folder.name}'s environment …", flush=True)
    venv.create(folder, with_pip=True, clear=True)
    pip = (python_of(peer), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    subprocess.run((*pip, "--requirement", wanted), check=True)
    stamp.write_text(wanted.read_text())


def settings_for(peer: Peer, scratch: Path) -> dict[str, str]:
    """Environment variables of a peer's process: the person's own without those that would tune one peer.

    kilter's compilation cache lies in ``scratch``, empty at the start of a run, so its compile times are a
    first start's; the peers have no such cache as they come. A PYTHONPATH of the driver reaches only peers
    in the driver's own environment.
    """
    kept = {name: value for name, value in os.environ.items() if name not in SETTINGS_LEFT_OUT}
    path = [str(HERE)]
    if peer.environment is None and os.environ.get("PYTHONPATH"):
        path.append(os.environ["PYTHONPATH"])
    own = {"KILTER_CACHE": str(scratch / "cache"), "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONUNBUFFERED": "1"}
    return kept | own | {"PYTHONPATH": os.pathsep.join(path)} | dict(peer.variables)
