"""A workload as a compiled Keras model, the same for every backend and for kilter."""

from __future__ import annotations

from typing import Any

import keras

from bench.workloads import CLASSES, IMAGE_SHAPE, INPUTS, KERNEL, LEARNING_RATE, Workload


def compiled_model(workload: Workload, *, steps_per_execution: int = 1, compact: bool = False) -> keras.Model:
    """Build and compile; ``compact`` models take uint8 pixels and scale them in their first layer."""
    keras.utils.set_random_seed(0)
    shape = IMAGE_SHAPE if workload.filters else (INPUTS,)
    layers: list[Any] = [keras.layers.Input(shape, dtype="uint8" if compact else "float32")]
    if compact:
        layers.append(keras.layers.Rescaling(1 / 255))
    for filters in workload.filters:
        layers.append(
            keras.layers.Conv2D(
                filters, KERNEL, padding="same", activation="elu", kernel_initializer="he_normal"
            )
        )
        layers.append(keras.layers.MaxPooling2D())
    if workload.filters:
        layers.append(keras.layers.Flatten())
    for units in workload.hidden:
        layers += _hidden(units, workload.batch_norm)
    model = keras.Sequential([*layers, keras.layers.Dense(CLASSES)])
    model.compile(
        optimizer=keras.optimizers.Nadam(LEARNING_RATE),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=steps_per_execution,
    )
    return model


def _hidden(units: int, batch_norm: bool) -> list[keras.layers.Layer]:
    if not batch_norm:
        return [keras.layers.Dense(units, activation="elu", kernel_initializer="he_normal")]
    return [
        keras.layers.Dense(units, use_bias=False, kernel_initializer="he_normal"),
        keras.layers.BatchNormalization(),
        keras.layers.Activation("elu"),
    ]
