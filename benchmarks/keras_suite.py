"""Keras's own tests through kilter: which of those that pass on plain Keras-JAX fail, and how.

The tests are read from a folder, by default from the installed Keras, whose wheel has them; none is copied.
Each runs first on plain Keras; those that pass and call ``fit``, ``evaluate`` or ``predict`` run again with
these calls routed through kilter. Records are kept in ``--records``, and a second run continues there.

Example: ``.venv/bin/python benchmarks/keras_suite.py --keras .venv/lib/python3.11/site-packages/keras``
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
# A test that calls a method itself, or through Keras's checks of a layer.
CALLS = re.compile(r"\.(fit|evaluate|predict)\(|run_layer_test|run_training_check")
# Other backends, several processes, gigabytes of weights, or code that kilter does not reach.
LEFT_OUT = re.compile(r"src/(applications|backend/(tensorflow|torch|openvino)|export|ops)/|multi_process")
# Crashes of the interpreter before the run gives up; each one fails the test that it happened in.
MOST_CRASHES = 5


def main() -> int:
    """Run the tests twice and print the comparison; 0 when kilter passes ``--least`` of them."""
    options = parse_options()
    # Imported here: `keras_suite` is the package beside this file, for pytest's processes.
    from keras_suite.comparing import compare, read, relevant

    folder, options.records = options.keras.resolve(), options.records.resolve()
    options.records.mkdir(parents=True, exist_ok=True)
    plain, routed, only = (options.records / name for name in ("plain.jsonl", "kilter.jsonl", "only.txt"))
    files = test_files(folder, re.compile(options.match))
    if not files:
        print(f"{options.keras} has no tests that call fit, evaluate or predict", file=sys.stderr)
        return 2
    if "plain" in options.routes:
        run(folder, files, "plain", plain)
    if "kilter" in options.routes:
        only.write_text("\n".join(relevant(read(plain))))
        run(folder, files, "kilter", routed, "--only", str(only))
    result = compare(read(plain), read(routed))
    print("\n".join(result.lines()))
    return 0 if result.share >= options.least else 1


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--keras", type=Path, required=True, help="a folder with Keras's tests")
    parser.add_argument("--match", default="", help="a regular expression that the files' paths contain")
    parser.add_argument("--records", type=Path, default=Path("build/keras_suite"), help="where results go")
    parser.add_argument("--routes", nargs="+", choices=("plain", "kilter"), default=("plain", "kilter"))
    parser.add_argument("--least", type=float, default=0.98, help="the share that must pass through kilter")
    return parser.parse_args()


def test_files(folder: Path, match: re.Pattern[str]) -> list[Path]:
    """Keras's test files that train, evaluate or predict."""
    found = sorted(folder.rglob("*_test.py"))
    kept = [path for path in found if match.search(str(path)) and not LEFT_OUT.search(path.as_posix())]
    return [path for path in kept if CALLS.search(path.read_text(encoding="utf-8"))]


def run(folder: Path, files: list[Path], route: str, record: Path, *options: str) -> None:
    """Run the files in one pytest process, and after a crash again without what is recorded."""
    from keras_suite.comparing import note_crash

    paths = os.pathsep.join((str(HERE), os.environ.get("PYTHONPATH", "")))
    environment = os.environ | {"PYTHONPATH": paths, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    environment["KILTER_CACHE"] = "off"  # each test compiles its own programs
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--tb=no", f"--rootdir={folder}"]
    command += ["-p", "no:cacheprovider", "--continue-on-collection-errors", "-p", "keras_suite.plugin"]
    command += ["--route", route, "--record", str(record), *options, *map(str, files)]
    for _ in range(MOST_CRASHES):
        with tempfile.TemporaryDirectory() as scratch:  # for files that a test leaves behind
            status = subprocess.run(command, cwd=scratch, env=environment, check=False).returncode
        if 0 <= status <= 5:  # pytest's own
            return
        note_crash(record, status)


if __name__ == "__main__":
    sys.exit(main())
