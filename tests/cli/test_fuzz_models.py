"""Changed .keras files: a model or a ModelError, nothing written or run, and little memory."""

import copy
import io
import json
import os
import sys
import tempfile
import zipfile
from pathlib import Path

import keras
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kilter._models.saved import load_model
from kilter.errors import ModelError

EXAMPLES = int(os.environ.get("KILTER_FUZZ_EXAMPLES", "20"))
fuzz = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
UNPACKED = f"{tempfile.gettempdir()}/tmp"  # where Keras unpacks the assets of a file, and removes them again
COMPILED = os.environ["KILTER_CACHE"]  # programs that a load compiles are kept there
PROCESSES = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect")


class Watch:
    """What Python's audit events say of processes, connections and files opened for writing."""

    def __init__(self):
        self.seen, self.active = [], False
        sys.addaudithook(self._hear)

    def _hear(self, event, arguments):
        if not self.active:
            return
        writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
        if event in PROCESSES or (writes and not str(arguments[0]).startswith(("/dev/", UNPACKED, COMPILED))):
            self.seen.append((event, arguments))

    def __enter__(self):
        self.seen, self.active = [], True
        return self

    def __exit__(self, *error):
        self.active = False


WATCH = Watch()


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """The members of a good file, by name."""
    path = tmp_path_factory.mktemp("good") / "good.keras"
    image = keras.Input((6, 6, 1))
    hidden = keras.layers.Conv2D(2, 3, activation="relu", kernel_regularizer="l2")(image)
    hidden = keras.layers.Dropout(0.2)(keras.layers.BatchNormalization()(keras.layers.Flatten()(hidden)))
    model = keras.Model(image, keras.layers.Dense(3)(hidden))
    model.compile("adam", "mse")
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _safe(path, content):
    """Load a file with this content; the error or model is as it should be, and nothing else happens."""
    path.write_bytes(content)
    before = sorted(path.parent.parent.rglob("*"))
    with WATCH:
        try:
            found = load_model(path, compiled=True)
        except ModelError as error:
            found = error
    told = isinstance(found, ModelError) and all((found.expected, found.received, found.remedy))
    assert told or isinstance(found, keras.Model)
    assert WATCH.seen == []
    assert sorted(path.parent.parent.rglob("*")) == before


def _archive(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


@pytest.fixture
def path(tmp_path):
    (tmp_path / "inner").mkdir()
    return tmp_path / "inner" / "changed.keras"


CODE = [
    "os.system",
    "builtins",
    "eval",
    "subprocess",
    "keras.utils",
    "keras.src.utils",
    "Lambda",
    "__lambda__",
]
SCALARS = st.one_of(
    st.sampled_from([None, True, -1, 0, 10**6, 10**12, 2**63, 1e308, float("nan"), "", "a", "relu", *CODE]),
    st.text(max_size=5),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["class_name", "config", "module", "registered_name", "x"]), inner),
        st.builds(lambda one: {"class_name": "function", "config": one, "module": "os"}, inner),
    ),
    max_leaves=6,
)


def _places(value, place=()):
    """Where every value of a configuration stands."""
    yield place
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in items:
        yield from _places(one, (*place, key))


@fuzz
@given(data=st.data())
def test_fuzz_values_of_the_configuration(data, members, path):
    config = json.loads(members["config.json"])
    for _ in range(data.draw(st.integers(1, 3))):
        *above, last = data.draw(st.sampled_from([one for one in _places(config) if one]))
        holder = config
        for key in above:
            holder = holder[key]
        if data.draw(st.booleans()):
            holder[last] = data.draw(VALUES)
        elif data.draw(st.booleans()):
            del holder[last]
        else:  # a value from elsewhere in the configuration
            found = config
            for key in data.draw(st.sampled_from(list(_places(config)))):
                found = found[key]
            holder[last] = copy.deepcopy(found)
    _safe(path, _archive((members | {"config.json": json.dumps(config)}).items()))


@fuzz
@given(data=st.data())
def test_fuzz_bytes_of_a_member(data, members, path):
    name = data.draw(st.sampled_from(sorted(members)))
    content = bytearray(members[name])
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=6)):
        content[place] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
    _safe(path, _archive((members | {name: bytes(content)}).items()))


@fuzz
@given(data=st.data())
def test_fuzz_bytes_of_the_archive(data, members, path):
    content = bytearray(_archive(members.items()))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=8)):
        content[place] = data.draw(st.integers(0, 255))
    _safe(path, bytes(content[: data.draw(st.integers(0, len(content)))]))


NAMES = [
    "../outside",
    "/tmp/outside",
    "assets/../../outside",
    "config.json",
    "a\0b",
    "assets/",
    "model.weights.h5",
]


@fuzz
@given(data=st.data())
def test_fuzz_members(data, members, path):
    """Members twice, missing, in another order, with names that lead outside, or of other kinds."""
    more = data.draw(st.lists(st.tuples(st.sampled_from(NAMES), st.binary(max_size=20)), max_size=3))
    every = data.draw(st.permutations([*members.items(), *more]))
    every = every[: data.draw(st.integers(0, len(every)))]
    _safe(path, _archive(every))


@pytest.mark.parametrize("suffix", [".h5", ".hdf5", ".keras", ""])
def test_hdf5_models_are_not_read(suffix, tmp_path):
    """Keras's old format holds Lambda layers as marshalled code."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.save(tmp_path / "model.h5")
    file = Path(tmp_path / "model.h5").rename(tmp_path / f"a{suffix}")
    with pytest.raises(ModelError, match="HDF5"):
        load_model(file, allow_code=True)
