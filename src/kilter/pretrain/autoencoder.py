"""``kilter.pretrain.autoencoder``: an encoder trained to keep what is needed to reconstruct its rows."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, Unpack

import keras
import numpy as np

from kilter._array_types import Arrays, HeldOut
from kilter._engine.history import History
from kilter._engine.inference import predict
from kilter._models.arrays import some_rows
from kilter._models.copying import check_graph, copy_model
from kilter._validation import number, one_of
from kilter.errors import ModelError, OptionError
from kilter.nn.blocks import Seeds
from kilter.pretrain.decoder import Layers, Link, as_model, decoder_layers, links, stages, untied
from kilter.pretrain.running import (
    Encoder,
    PretextModel,
    Pretrained,
    Subject,
    Training,
    TrainingKeywords,
    baseline_error,
    joined,
    reconstruction_figures,
    reconstruction_notes,
    subject_of,
)
from kilter.pretrain.targets import Targets, targets_for
from kilter.pretrain.tasks.reconstruction import (
    CORRUPTIONS,
    PENALTIES,
    Corruption,
    Noise,
    Penalty,
    Reconstruction,
    Sparsity,
)

KINDS: Final = ("plain", "tied", "denoising", "sparse", "convolutional")
_VARIANCE_ROWS = 1024  # enough to estimate the variance of a stage's codes


def autoencoder(
    encoder: Encoder,
    x: Arrays,
    *,
    kind: str | Sequence[str] = "plain",
    decoder: keras.Model | None = None,
    loss: str = "auto",
    corruption: Corruption = "gaussian",
    noise: float = 0.3,
    penalty: Penalty = "kl",
    activity: float = 0.05,
    penalty_weight: float = 1e-3,
    greedy: bool = False,
    finish: bool = True,
    validation_data: HeldOut | None = None,
    **options: Unpack[TrainingKeywords],
) -> Pretrained:
    """Train a copy of ``encoder`` so that a decoder can reconstruct the rows from its codes.

    Args:
        encoder: a built Sequential or Functional model from rows to codes, or a function without arguments
            that returns one. It is not changed.
        x: the rows, an array or a :class:`kilter.data.Dataset`; numbers of any range, or bytes.
        kind: one or several of: "plain"; "tied" (the decoder uses the encoder's kernels, transposed);
            "denoising" (rows are corrupted in training); "sparse" (active codes are penalised);
            "convolutional" (raises unless the encoder has convolutions, and changes nothing else).
        decoder: a model from codes to rows; by default one that mirrors the encoder. kilter trains a copy.
            Its outputs are logits if targets are from 0 to 1 (see ``loss``), otherwise standardised rows.
        loss: "bce" (targets from 0 to 1), "mse", or "auto": "bce" for bytes and for values from 0 to 1.
        corruption: for "denoising": "gaussian" noise with standard deviation ``noise`` in units of the
            targets, or "masking", which sets each value to zero with probability ``noise``.
        penalty: for "sparse": "kl" between the mean of each unit and ``activity``, for codes from 0 to 1, or
            "l1". ``penalty_weight`` is its factor.
        greedy: first train each dense layer or convolution with its mirror image, bottom up, on the codes of
            those below, for ``epochs`` each (Bengio et al. 2007); then, if ``finish``, all together.
        validation_data: rows like ``x``, measured after each epoch.
        epochs, batch_size, callbacks, seed, verbose: as in :func:`kilter.fit`; by default 20 epochs, batches
            of 128 and seed 0. ``seed`` also draws the decoder's weights and the noise.
        optimizer: "adam", another name, or a Keras optimiser, which is copied from its configuration;
            ``learning_rate`` replaces its own.

    Returns a :class:`Pretrained` with the figures ``error`` and ``baseline``, the error of the mean row.

    Raises :class:`~kilter.errors.ModelError`, :class:`~kilter.errors.DataError` or
    :class:`~kilter.errors.OptionError` before training starts.

    Example:
        >>> import numpy as np
        >>> rows = np.random.default_rng(0).random((64, 6), dtype="float32")
        >>> small = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, "relu", name="code")])
        >>> done = autoencoder(small, rows, kind=("tied", "denoising"), epochs=2, verbose=0)
        >>> done.encoder.output_shape, done.decoder.output_shape
        ((None, 3), (None, 6))
    """
    kinds = _checked_kinds(kind)
    training = Training(**options)
    subject = subject_of(encoder, x, validation_data, training)
    targets = targets_for(subject.rows, loss)
    task = Reconstruction(
        targets,
        _checked_noise(corruption, noise) if "denoising" in kinds else None,
        _checked_sparsity(penalty, penalty_weight, activity) if "sparse" in kinds else None,
    )
    line = _line(subject.encoder, kinds, decoder, greedy=greedy)
    if task.sparsity is not None and penalty == "kl":
        _check_codes(subject)
    images = (
        [] if decoder is not None else decoder_layers(line, seeds=Seeds(training.seed), tied="tied" in kinds)
    )
    head = subject.mirror(images) if decoder is None else _copied_decoder(decoder, subject)
    _check_output_shape(head, subject)
    histories = train_greedily(subject, line, images, task, training) if greedy else []
    model = PretextModel(subject.encoder, head, task, seed=training.seed)
    if not greedy or finish:
        histories.append(training.run(model, subject.rows, subject.held_out))
    else:
        training.compile(model)
    figures = _figures(model, task, subject, training.seed)
    notes = reconstruction_notes(figures)
    return Pretrained(
        task=_task_name(kinds, line, greedy=greedy),
        encoder=subject.encoder,
        decoder=as_model([*map(untied, head.layers), *targets.back()], subject.code_shape, "decoder"),
        history=joined(histories),
        figures=figures,
        notes=notes,
        learnt=not notes,
    )


def train_greedily(
    subject: Subject, line: Sequence[Link], images: Sequence[Layers], task: Reconstruction, training: Training
) -> list[History]:
    """Train each stage of the encoder with its mirror image on the codes below; changes the layers' weights.

    Higher stages reconstruct codes of any range: squared error over the codes' variance. Frozen stages are
    skipped.
    """
    histories, lower = [], []
    for stage, image in zip(stages(line), images, strict=True):
        below = as_model(lower, subject.shape, "below") if lower else None
        encoder = as_model([link.layer for link in stage], stage[0].before, "stage")
        head = as_model(image, stage[-1].after, "image")
        own = task if below is None else _of_codes(task, below, subject, training.seed)
        with _frozen(lower):
            if encoder.trainable_variables:
                model = PretextModel(encoder, head, own, seed=training.seed, below=below)
                histories.append(training.run(model, subject.rows, subject.held_out))
        lower += [link.layer for link in stage]
    return histories


def _of_codes(task: Reconstruction, below: keras.Model, subject: Subject, seed: int) -> Reconstruction:
    codes = predict(below, some_rows(subject.rows, _VARIANCE_ROWS, seed), verbose=0)
    variance = float(codes.var(dtype="float64")) or 1.0
    noise = task.noise
    if noise is not None and noise.corruption == "gaussian":
        noise = replace(noise, strength=noise.strength * variance**0.5)
    return replace(task, targets=Targets("mse", (0.0,), (1.0,)), noise=noise, importance=1 / variance)


@contextlib.contextmanager
def _frozen(layers: Sequence[Any]) -> Iterator[None]:
    """Freeze the layers while active, and restore their ``trainable`` flags."""
    flags = [layer.trainable for layer in layers]
    try:
        for layer in layers:
            layer.trainable = False
        yield
    finally:
        for layer, flag in zip(layers, flags, strict=True):
            layer.trainable = flag


def _figures(model: PretextModel, task: Reconstruction, subject: Subject, seed: int) -> dict[str, float]:
    figures = reconstruction_figures(model, subject, baseline_error(subject, task.targets, seed), seed)
    if task.sparsity is not None:
        codes = predict(subject.encoder, subject.measured_rows(seed), verbose=0)
        figures["activity"] = float(np.abs(codes).mean())
    return figures


def _checked_kinds(kind: str | Sequence[str]) -> tuple[str, ...]:
    kinds = (kind,) if isinstance(kind, str) else tuple(kind)
    for one in kinds:
        one_of("kind", one, KINDS)
    if not kinds or ("plain" in kinds and len(kinds) > 1):
        raise OptionError(
            expected='kind as "plain", or one or several of ' + ", ".join(KINDS[1:]),
            received=f"kind={kind!r}",
            remedy='for example kind=("tied", "denoising")',
        )
    return kinds


def _checked_noise(corruption: Corruption, strength: float) -> Noise:
    one_of("corruption", corruption, CORRUPTIONS)
    most = 1.0 if corruption == "masking" else 10.0
    return Noise(corruption, number("noise", strength, above=0, below=most, remedy="0.3 is usual"))


def _checked_sparsity(penalty: Penalty, weight: float, activity: float) -> Sparsity:
    one_of("penalty", penalty, PENALTIES)
    return Sparsity(
        penalty,
        number("penalty_weight", weight, above=0, remedy="start with 1e-3"),
        number("activity", activity, above=0, below=1, remedy="0.05 is usual"),
    )


def _line(
    encoder: keras.Model, kinds: Sequence[str], decoder: keras.Model | None, *, greedy: bool
) -> list[Link]:
    """The encoder's layers in order; empty with a given decoder, which works for any encoder."""
    if decoder is not None and (greedy or "tied" in kinds):
        raise OptionError(
            expected="no decoder with kind='tied' or greedy=True, which mirror the encoder",
            received="decoder= too",
            remedy="leave decoder out",
        )
    convolutions = [one for one in encoder._flatten_layers() if isinstance(one, keras.layers.Conv2D)]
    if "convolutional" in kinds and not convolutions:
        raise ModelError(
            expected="convolutions in the encoder of a convolutional autoencoder",
            received=f"model {encoder.name!r}, which has none",
            remedy="add keras.layers.Conv2D, or leave 'convolutional' out",
        )
    return [] if decoder is not None else links(encoder)


def _check_codes(subject: Subject) -> None:
    codes = predict(subject.encoder, some_rows(subject.rows, 256, 0), verbose=0)
    name = subject.encoder.name
    if codes.min() < 0 or codes.max() > 1:
        raise ModelError(
            expected="codes from 0 to 1 for penalty='kl', as from a sigmoid",
            received=f"encoder {name!r} with codes from {codes.min():.3g} to {codes.max():.3g}",
            remedy="end the encoder with a sigmoid, or use penalty='l1'",
        )


def _copied_decoder(decoder: Any, subject: Subject) -> keras.Model:
    if not isinstance(decoder, keras.Model):
        raise ModelError(
            expected="decoder as a Keras model", received=f"decoder={decoder!r}", remedy="leave it out"
        )
    check_graph(decoder)
    takes = [tuple(one.shape[1:]) for one in decoder.inputs]
    if takes != [subject.code_shape]:
        raise ModelError(
            expected=f"a decoder of codes of shape {subject.code_shape}, the encoder's output",
            received=f"model {decoder.name!r}, which takes {', '.join(map(str, takes))}",
            remedy=f"start it with keras.Input({subject.code_shape})",
        )
    return copy_model(decoder).model


def _check_output_shape(head: keras.Model, subject: Subject) -> None:
    gives = [tuple(one.shape[1:]) for one in head.outputs]
    if gives != [subject.shape]:
        raise ModelError(
            expected=f"a decoder that outputs rows of shape {subject.shape}",
            received=f"model {head.name!r}, which outputs {', '.join(map(str, gives))}",
            remedy="end it with a layer of that shape",
        )


def _task_name(kinds: Sequence[str], line: Sequence[Link], *, greedy: bool) -> str:
    convolves = any(isinstance(link.layer, keras.layers.Conv2D) for link in line)
    words = [one for one in KINDS[1:] if one in kinds or (one == "convolutional" and convolves)]
    return " ".join([*(["greedy"] if greedy else []), *words, "autoencoder"])
