"""What is public is listed here, once more than in the packages, so that nothing becomes public by accident.

Everything else is private: its package or module begins with an underscore, or lies within a public package.
Nothing that a user reads sends them to a private name.
"""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "kilter"

PUBLIC = {
    "kilter": """
        Doctor ExponentialMovingAverage KilterClassifier KilterRegressor OptaxOptimizer Policy Pretraining
        Stage StochasticWeightAverage Thresholds Way __version__ accelerate calibration clip_threshold
        compare cuts data diagnose engine errors evaluate find_lr fine_tune fit fold_batch_norm
        gradient_noise_scale largest_curvature largest_difference load_source measured_steps nn predict
        predict_mc pretrain probe recipe refresh_batch_norm report restore reuse reuse_study runs schedules
        search search_reuse sweep to_half treat zero_small_weights""",
    "kilter.data": """
        ClassCount Column ColumnSummary Dataset FORMATS Format Moments NAMED_SETS PartSummary Source
        SourceSummary Splits TableEncoding Task augmentation check describe fold load moments split stream""",
    "kilter.data.augmentation": """
        Augmentation Brightness Contrast Cutmix Cutout Fill Flip Geometric Hue Images Mixing Mixture Mixup
        Pixelwise Rotate Saturation Shift Transform Zoom preview warp""",
    "kilter.errors": """
        BackendError DataError KilterError ModelError OptionError RecipeError RunError RunWarning""",
    "kilter.nn": """
        DepthRecord Gain LayerScaling LayerSignal LsuvRecord Moments PAIRINGS Pairing PenalizedWeights
        PositionEmbedding RReLU Contrastive ScaledHuber
        SmoothedSparseCategoricalCrossentropy SparseCategoricalFocalCrossentropy SparseDice VarianceScaling
        activation_moments cnn is_paired l1_zeros lsuv mlp pairing pairing_of variance_gain
        variance_through_depth""",
    "kilter.pretrain": "Gan Pretrained autoencoder auxiliary gan",
    "kilter.recipe": """
        AugmentSection CnnSection DataSection EarlyStopping FactorySection FileSection FineTuneSection
        MlpSection ModelSection OptimizerSection PretrainSection Recipe RegularizeSection ReuseSection
        ScheduleSection StageSection TrainSection VarianceScaling WeightAveraging dump_recipe load_recipe
        parse_recipe recipe_for schedule_section with_overrides""",
    "kilter.report": "write_comparison write_report write_treatment",
    "kilter.runs": """
        CrossValidation Interrupted Recorder Replay Run RunRecords RunSummary TrainResult create_run
        cross_validate list_runs open_run reopen_run replay replay_with resume train""",
    "kilter.schedules": "Performance Schedule cosine exponential one_cycle performance piecewise power",
}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MENTIONED = re.compile(r"\bkilter(?:\.(?!__)[A-Za-z_]\w*)+")


@pytest.mark.parametrize("package", PUBLIC)
def test_a_public_package_exports_the_listed_names(package: str):
    module = importlib.import_module(package)
    assert sorted(module.__all__) == sorted(PUBLIC[package].split())
    assert all(getattr(module, name) is not None for name in module.__all__)


def test_every_other_module_is_private():
    within = {name.split(".")[1] for name in PUBLIC if "." in name}
    others = {
        path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert all(name.startswith("_") for name in others - within)


def is_public(path: str) -> bool:
    """Whether ``kilter.a.b`` can be reached through listed names; below a class or function all is."""
    package, *rest = path.split(".")
    for name in rest:
        if package not in PUBLIC:
            return True
        if name not in PUBLIC[package].split() and f"{package}.{name}" not in PUBLIC:
            return False
        package = f"{package}.{name}"
    return True


def private_names(text: str) -> list[str]:
    return sorted({path for path in MENTIONED.findall(text) if not is_public(path)})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_pages_name_public_paths_only(page: Path):
    assert private_names(page.read_text(encoding="utf-8")) == []


def public_objects() -> Iterator[tuple[str, object]]:
    for package, names in PUBLIC.items():
        module = importlib.import_module(package)
        yield package, module
        for name in names.split():
            value = getattr(module, name)
            if callable(value):
                yield f"{package}.{name}", value
            for method, function in vars(value).items() if inspect.isclass(value) else ():
                if not method.startswith("_") and callable(function):
                    yield f"{package}.{name}.{method}", function


def test_docstrings_of_public_names_name_public_paths_only():
    found = {name: private_names(inspect.getdoc(value) or "") for name, value in public_objects()}
    assert {name: paths for name, paths in found.items() if paths} == {}


def sentences(path: Path) -> Iterator[str]:
    """The string literals of a module that read as words, without docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        value = getattr(node, "value", None) if isinstance(node, ast.Constant) else None
        if isinstance(value, str) and " " in value.strip() and id(node) not in docstrings:
            yield value


def test_messages_name_public_paths_only():
    found = {path: [private_names(text) for text in sentences(path)] for path in SOURCE.rglob("*.py")}
    assert {path: names for path, names in found.items() if any(names)} == {}


def test_the_rule_can_fail():
    text = "see kilter._engine.measuring, kilter.fit, kilter.data.load and kilter.data.csv.read"
    assert private_names(text) == ["kilter._engine.measuring", "kilter.data.csv.read"]
    assert is_public("kilter.nn.RReLU.from_config")
