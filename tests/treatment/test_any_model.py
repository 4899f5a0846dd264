"""No model that Keras trains makes a remedy, diagnose or treat fail with an error of Keras or Python."""

from typing import Any

import numpy as np
import pytest
from tests.nn.every_layer import COMPOSITE, every_layer, model_of
from tests.treatment import strangers
from tests.treatment.subjects import finding

import kilter
from kilter._diagnosis.checks import CHECKS
from kilter._diagnosis.diagnose import read_context, run_checks
from kilter._engine.training_spec import TrainingSpec
from kilter._treatment.plan import RemedySet
from kilter._treatment.remedies import REMEDIES, Remedy
from kilter._treatment.subject import Subject
from kilter.errors import KilterError, ModelError

# These compile and train, so they are left to the treatments below.
TRAINING = ("find-learning-rate", "clip-gradients", "reinitialize-lsuv")
CHEAP = [code for code in REMEDIES if code not in TRAINING]


def programs(*quick):
    return [
        pytest.param(one, marks=[] if one in quick else pytest.mark.long, id=one.__name__)
        for one in strangers.PROGRAMS
    ]


def compiled_metrics(model: Any) -> list[Any]:
    return model._compile_config.config["metrics"]


def applied(ill: Subject, code: str) -> Subject | None:
    try:
        return REMEDIES[code].apply(ill, finding())
    except KilterError:
        return None


@pytest.mark.parametrize("name", every_layer(*COMPOSITE))
def test_every_remedy_is_applied_or_refused_beside_every_layer(name: str):
    model, x, y = model_of(name)
    ill = Subject(model, x, y, TrainingSpec(epochs=2, batch_size=8, shuffle=False, validation_data=(x, y)))
    layers = {id(layer) for layer in model._flatten_layers()}
    for code in CHEAP:
        treated = applied(ill, code)
        if treated is not None and treated.model is not model:
            assert treated.model.compiled
            assert not layers & {id(layer) for layer in treated.model._flatten_layers()}
            assert treated.facts[1][0].loss is not None  # it can be called


@pytest.mark.parametrize("name", every_layer(*COMPOSITE))
def test_every_layer_is_looked_at(name: str):
    model, x, y = model_of(name)
    context = read_context(model, x, y, TrainingSpec(batch_size=8))
    assert context.outputs[0].activation == "sigmoid"
    run_checks((*CHECKS["data"], *CHECKS["model"]), context)


@pytest.mark.parametrize("make", programs(strangers.scan))
def test_models_of_strangers_are_diagnosed(make):
    model, x, y, batch_size = make()
    found = kilter.diagnose(model, x, y, batch_size=batch_size, steps=2)
    assert found.findings


@pytest.mark.parametrize(
    "make",
    programs(strangers.siamese, strangers.stateful),
)
def test_models_of_strangers_are_treated(make):
    model, x, y, batch_size = make()
    # Few remedies: trials take seconds, and the tables above have the others.
    remedies = {code: REMEDIES[code] for code in ("replace-activation", "ease-regularization")}
    treatment = kilter.treat(model, x, y, batch_size=batch_size, epochs=1, budget=0, remedies=remedies)
    assert treatment.model.compiled
    assert treatment.model is not model
    assert not set(treatment.skipped) & {change.remedy for change in treatment.changes}
    assert all(treatment.skipped.values())


def test_remedies_that_are_not_possible_are_listed_with_the_reason():
    def raising(subject, finding):
        raise NameError("name 'ops' is not defined")

    model, x, y = model_of("MultiHeadAttention")
    ill = Subject(model, x, y, TrainingSpec(validation_data=(x, y)))
    remedy_set = RemedySet({**REMEDIES, "own": Remedy(raising, needs_surgery=True)})
    inside = next(one.path for one in ill.layers if one.path.endswith("/query"))
    for code in ("replace-activation", "add-l2", "own"):
        assert remedy_set.give(code, ill, finding(inside)) is None
    written = strangers.written()[0]
    written.build((None, 4))
    ill = Subject(written, strangers.FLAT, strangers.CLASSES)
    assert remedy_set.give("insert-batch-norm", ill, finding()) is None
    assert remedy_set.give("shuffle", ill, finding()) is None  # it has nothing to change, which is no failure
    assert list(remedy_set.skipped) == ["replace-activation", "add-l2", "own", "insert-batch-norm"]
    assert inside in remedy_set.skipped["replace-activation"]
    assert "'ops' is not defined" in remedy_set.skipped["own"]
    assert "its own call()" in remedy_set.skipped["insert-batch-norm"]


@pytest.mark.parametrize("rows", [5, 40])
def test_a_fixed_batch_size_is_kept_or_the_rows_are_too_few(rows: int):
    model, x, y, size = strangers.stateful()
    context = read_context(model, x, y, TrainingSpec(batch_size=7))
    assert context.batch_size == size
    with pytest.raises(ModelError, match=f"batches of {size} rows"):
        REMEDIES["change-batch-size"].apply(Subject(model, x, y, TrainingSpec(batch_size=2)), finding())
    call = kilter.treat if rows > size else kilter.diagnose
    fewer = slice(rows if rows < size else size + 3)
    with pytest.raises(KilterError, match=f"at least {size} rows"):
        call(model, x[fewer], y[fewer])


def test_statistics_of_metrics_do_not_reach_the_model_given():
    model, x, y, size = strangers.own_parts()
    weights = [np.asarray(one) for one in model.variables]
    treated = REMEDIES["change-optimizer"].apply(
        Subject(model, x, y, TrainingSpec(batch_size=size, validation_data=(x, y))), finding()
    )
    assert treated is not None
    (own,), (given,) = (compiled_metrics(one) for one in (treated.model, model))
    assert isinstance(own, strangers.Counted)
    assert own is not given
    kilter.fit(treated.copy(), x, y, verbose=0)
    assert float(own.result()) == 1.0
    for one, before in zip(model.variables, weights, strict=True):
        np.testing.assert_array_equal(one, before)
