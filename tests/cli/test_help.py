"""Help is quick and loads nothing heavy; every command is in the docs."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kilter import __version__

PAGE = (Path(__file__).parents[2] / "docs/command-line.md").read_text(encoding="utf-8")
HEAVY = {
    "jax",
    "keras",
    "numpy",
    "scipy",
    "sklearn",
    "polars",
    "pydantic",
    "plotly",
    "orbax",
    "optax",
    "grain",
    "tensorboardX",
    "tomlkit",
    "jinja2",
    "rich",
    "PIL",
}
CALL = "import sys; sys.argv = ['kilter', *sys.argv[1:]]; from kilter._cli.main import main\n"


def test_help_loads_nothing_heavy():
    code = (
        CALL
        + f"""
try:
    main()
finally:
    print(sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)
"""
    )
    ended = subprocess.run([sys.executable, "-c", code, "--help"], check=True, capture_output=True, text=True)
    assert ended.stderr.strip() == "[]"
    assert "train" in ended.stdout


def test_the_help_page_builds_no_command():
    code = CALL + "from typer import main as building\nbuilding.get_command_from_info = None\n"
    code += "from kilter._cli import main as group\ngroup.get_command_from_info = None\nmain()"
    subprocess.run([sys.executable, "-c", code, "--help"], check=True, capture_output=True)


def test_a_misspelt_command_gets_near_names(kilter):
    ended = kilter("trian")
    assert ended.code == 2
    assert "Did you mean 'train'" in ended.err


def test_runs_and_data_load_no_jax(tmp_path):
    code = (
        CALL
        + """
for words in (["runs", sys.argv[1]], ["data", "digits"]):
    sys.argv = ["kilter", *words]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code
    print(words[0], sorted({"jax", "keras"} & set(sys.modules)), file=sys.stderr)
"""
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True
    )
    assert [line for line in ended.stderr.splitlines() if line.endswith("]")] == ["runs []", "data []"]


SLOW = {
    "train": ["digits"],
    "transfer": ["model.keras", "digits"],
    "find-lr": ["digits"],
    "diagnose": ["digits"],
    "treat": ["digits"],
    "schedule": ["digits"],
    "resume": ["runs/x"],
    "replay": ["runs/x"],
    "evaluate": ["runs/x"],
    "predict": ["runs/x", "digits"],
    "fold-bn": ["runs/x", "--check", "digits", "--out", "x.keras"],
    "pretrain": ["digits"],
    "compare": ["a.toml", "b.toml"],
    "sweep": ["digits", "--vary", "seed=[1]"],
    "report": ["runs/x"],
    "data": ["digits"],
}
FIRST_LINES = """
import json, sys
from kilter._cli.main import app

class Loading(BaseException):
    pass

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in HEAVY:
            raise Loading

sys.meta_path.insert(0, Refuse())
for command, words in json.loads(sys.argv[1]).items():
    for extra in ([], ["--quiet"]):
        print(f"{command} {extra}:", file=sys.stderr, end=" ")
        try:
            app([command, *words, *extra], standalone_mode=False)
        except (Loading, Exception) as stopped:
            print(type(stopped).__name__, file=sys.stderr)
"""


def test_the_first_line_comes_before_anything_heavy_is_loaded(kilter, tmp_path):
    (tmp_path / "runs/x").mkdir(parents=True)
    for name in (
        "model.keras",
        "a.toml",
        "b.toml",
    ):  # a missing file is an error before the first line
        (tmp_path / name).touch()
    commands = set(re.findall(r"^  ([\w-]+) ", kilter("--help").out.partition("Commands:")[2], re.MULTILINE))
    assert set(SLOW) == commands - {"runs"}
    code = f"HEAVY = {HEAVY - {'pydantic'}!r}\n{FIRST_LINES}"  # typer itself loads pydantic
    ended = subprocess.run(
        [sys.executable, "-c", code, json.dumps(SLOW)],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    for command in SLOW:
        said = ended.stderr.partition(f"{command} []: ")[2].splitlines()
        assert said[0].endswith("..."), (command, said[:3])
        assert said[1] == "Loading", (command, said[:3])
        if command != "report":
            quiet = ended.stderr.partition(f"{command} ['--quiet']: ")[2].splitlines()
            assert quiet[0] == "Loading", (command, quiet[:3])


def test_version(kilter):
    assert kilter("--version").out == f"kilter {__version__}\n"


def test_no_command_shows_the_help(kilter):
    ended = kilter()
    assert ended.code == 2
    assert "Commands:" in ended.out + ended.err


def test_every_command_and_option_is_in_the_docs(kilter):
    commands = re.findall(r"^  ([\w-]+) ", kilter("--help").out.partition("Commands:")[2], re.MULTILINE)
    assert {"train", "resume", "evaluate", "predict", "runs", "data", "report"} <= set(commands)
    for command in commands:
        assert f"## kilter {command}" in PAGE
        section = PAGE.partition(f"## kilter {command}")[2].partition("\n## ")[0]
        for option in set(re.findall(r"--[a-z-]+", kilter(command, "--help").out)) - {"--help"}:
            assert f"`{option}" in section, f"{command} {option}"


def test_the_docs_name_no_command_that_does_not_exist(kilter):
    known = kilter("--help").out
    for command in re.findall(r"^## kilter ([\w-]+)", PAGE, re.MULTILINE):
        assert f"\n  {command} " in known


@pytest.mark.parametrize(
    ("words", "expected", "received"),
    [
        (["trian"], "kilter [OPTIONS] COMMAND", "no such command 'trian'. Did you mean 'train'"),
        (["train"], "kilter train [OPTIONS] {RECIPE.TOML|DATA}", "missing argument 'RECIPE.TOML|DATA'"),
        (["train", "digits", "--epoch", "3"], "kilter train [OPTIONS]", "no such option: --epoch"),
        (["train", "digits", "--epochs", "x"], "--epochs to be a whole number", "'x'"),
        (["predict", "run", "rows.csv", "--mc", "0"], "--mc to be greater than or equal to 1", "'0'"),
        (["predict", "a"], "kilter predict [OPTIONS] {RUN|MODEL.KERAS} {DATA}", "missing argument 'DATA'"),
        (["train", "digits", "more"], "kilter train [OPTIONS]", "got unexpected extra argument(s) (more)"),
        (["resume", "run", "--epochs"], "options as", "option '--epochs' requires an argument"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_errors_in_options_have_three_parts(kilter, words, expected, received):
    ended = kilter(*words)
    assert ended.code == 2
    lines = ended.err.splitlines()
    assert lines[0].startswith(f"Expected:   {expected}")
    assert f"Received:   {received}" in ended.err
    assert lines[-1].startswith("To fix:     see `kilter")


def test_help_shows_no_types_of_python(kilter):
    for name in SLOW:
        assert not re.findall(r"<[^>]*>", kilter(name, "--help").out), name
