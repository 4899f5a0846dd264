"""Remedies by code: what can be done about a finding, each a function from subject to subject."""

from __future__ import annotations

from typing import Final

from kilter._treatment.remedies.activation import alpha_dropout, replace_activation, self_normalize
from kilter._treatment.remedies.base import Apply, Remedy
from kilter._treatment.remedies.initialization import reinitialize_lsuv, reinitialize_paired
from kilter._treatment.remedies.inputs import clean_data, standardize_inputs
from kilter._treatment.remedies.normalization import (
    insert_batch_norm,
    remove_redundant_bias,
    reorder_dropout,
    repair_batch_norm,
)
from kilter._treatment.remedies.optimization import (
    change_optimizer,
    clip_gradients,
    find_learning_rate,
    one_cycle,
)
from kilter._treatment.remedies.output import repair_output
from kilter._treatment.remedies.output_scale import rescale_outputs
from kilter._treatment.remedies.regularization import (
    add_dropout,
    add_l2,
    add_max_norm,
    augment,
    ease_regularization,
)
from kilter._treatment.remedies.residuals import add_residuals
from kilter._treatment.remedies.training import (
    change_batch_size,
    class_weights,
    recompile,
    shuffle,
    stop_early,
    train_longer,
    unfreeze,
)

_CUTS: Final[dict[str, tuple[str, Apply]]] = {
    "standardize-inputs": ("a layer in the model that standardises its inputs", standardize_inputs),
    "repair-output": ("output and loss that fit the targets", repair_output),
    "rescale-outputs": ("a layer in the model that scales outputs to the targets", rescale_outputs),
    "replace-activation": ("ELU in hidden layers, with weights drawn for it", replace_activation),
    "self-normalize": ("everything that self-normalisation needs", self_normalize),
    "insert-batch-norm": ("batch normalisation before each hidden activation", insert_batch_norm),
    "repair-batch-norm": ("batch normalisation with the right axis and momentum", repair_batch_norm),
    "remove-redundant-bias": ("no bias before batch normalisation", remove_redundant_bias),
    "reorder-dropout": ("dropout after the last batch normalisation", reorder_dropout),
    "alpha-dropout": ("alpha dropout instead of dropout", alpha_dropout),
    "add-residuals": ("skip connections every two layers", add_residuals),
    "ease-regularization": ("less dropout, smaller penalties", ease_regularization),
    "add-dropout": ("dropout after each hidden dense layer", add_dropout),
    "add-l2": ("a penalty on squared weights", add_l2),
    "add-max-norm": ("a limit on each unit's weights", add_max_norm),
}
_NO_CUTS: Final[dict[str, tuple[str, Apply]]] = {
    "clean-data": ("rows that are not finite removed", clean_data),
    "reinitialize-paired": ("weights drawn to fit the activations", reinitialize_paired),
    "reinitialize-lsuv": ("weights scaled until every layer's output has variance 1", reinitialize_lsuv),
    "unfreeze": ("all layers trainable", unfreeze),
    "recompile": ("compiled again", recompile),
    "find-learning-rate": ("the learning rate found by a trial", find_learning_rate),
    "clip-gradients": ("gradients clipped at a measured norm", clip_gradients),
    "change-optimizer": ("Nadam", change_optimizer),
    "one-cycle": ("the learning rate up and down again", one_cycle),
    "change-batch-size": ("larger batches", change_batch_size),
    "shuffle": ("rows shuffled in every epoch", shuffle),
    "class-weights": ("equal weight for every class", class_weights),
    "augment": ("images shifted and mirrored in training", augment),
    "stop-early": ("early stopping on the validation loss", stop_early),
    "train-longer": ("more epochs", train_longer),
}

REMEDIES: Final[dict[str, Remedy]] = {
    code: Remedy(code, title, apply, needs_surgery)
    for needs_surgery, table in ((True, _CUTS), (False, _NO_CUTS))
    for code, (title, apply) in table.items()
}
"""Every remedy that a finding can name."""

__all__ = ["REMEDIES", "Remedy"]
