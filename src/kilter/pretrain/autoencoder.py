"""``kilter.pretrain.autoencoder``: an encoder trained to keep what its rows can be rebuilt from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import keras
import numpy as np

from kilter._engine.history import History
from kilter._engine.inference import predict
from kilter._models.arrays import some_rows
from kilter._models.copying import check_graph, copy_model
from kilter._progress import Verbose
from kilter.errors import ModelError, OptionError
from kilter.nn.options import check_name
from kilter.pretrain.decoder import Layers, Seeds, TiedConv2DTranspose, TiedDense, as_model, mirrored
from kilter.pretrain.encoder_chain import Link, links, stages
from kilter.pretrain.pretext import PretextModel, Training, joined
from kilter.pretrain.running import (
    Encoder,
    Pretrained,
    Subject,
    baseline_error,
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

_LOOKED_AT = 1024  # rows from which the variance of a stage's codes is known well enough to scale a loss


def train_greedily(
    subject: Subject, line: Sequence[Link], images: Sequence[Layers], task: Reconstruction, training: Training
) -> list[History]:
    """Train each stage of the encoder with its mirror image, on the codes below; the layers are changed.

    The first stage has the task as it is. The stages above give back codes, whatever their range, by squared
    error over the codes' variance, with the task's noise in units of their deviation.
    """
    histories, lower = [], []
    for stage, image in zip(stages(line), images, strict=True):
        below = as_model(lower, subject.shape, "below") if lower else None
        encoder = as_model([link.layer for link in stage], stage[0].before, "stage")
        head = as_model(image, stage[-1].after, "image")
        own = task if below is None else _of_codes(task, below, subject, training.seed)
        with _frozen(lower):
            # A stage that stands frozen in the encoder has nothing to learn itself; its image would not help.
            if encoder.trainable_variables:
                model = PretextModel(encoder, head, own, seed=training.seed, below=below)
                histories.append(training.run(model, subject.rows, subject.held_out))
        lower += [link.layer for link in stage]
    return histories


def _of_codes(task: Reconstruction, below: keras.Model, subject: Subject, seed: int) -> Reconstruction:
    codes = predict(below, some_rows(subject.rows, _LOOKED_AT, seed), verbose=0)
    variance = float(codes.var(dtype="float64")) or 1.0
    noise = task.noise
    if noise is not None and noise.corruption == "gaussian":
        noise = replace(noise, strength=noise.strength * variance**0.5)
    return replace(task, targets=Targets("mse", (0.0,), (1.0,)), noise=noise, importance=1 / variance)


@contextlib.contextmanager
def _frozen(layers: Sequence[Any]) -> Iterator[None]:
    """While active, the layers do not train; their flags are put back afterwards, also on an error."""
    flags = [layer.trainable for layer in layers]
    try:
        for layer in layers:
            layer.trainable = False
        yield
    finally:
        for layer, flag in zip(layers, flags, strict=True):
            layer.trainable = flag


KINDS: Final = ("plain", "tied", "denoising", "sparse", "convolutional")


def autoencoder(
    encoder: Encoder,
    x: Any,
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
    validation_data: Any = None,
    epochs: int = 20,
    batch_size: int = 128,
    optimizer: str | keras.optimizers.Optimizer = "adam",
    learning_rate: float | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    seed: int = 0,
    verbose: Verbose = "auto",
) -> Pretrained:
    """Train a copy of ``encoder`` on rows without labels, so that a decoder can give the rows back.

    Args:
        encoder: a built Sequential or Functional model from rows to codes, or a function without arguments
            that makes one. It stays as it is.
        x: the rows, an array or a :class:`kilter.data.Dataset`; numbers of any range, or bytes.
        kind: one of these or several together: "plain"; "tied", the decoder's kernels are the encoder's
            transposed; "denoising", rows are corrupted in training; "sparse", active codes cost; and
            "convolutional", which an encoder with convolutions is anyway: it makes one without an error.
        decoder: a model from codes to rows; without it the encoder's mirror image is made. It stays as it is;
            a copy is trained. With targets from 0 to 1 (``loss``) it is to give logits, else standardised
            rows.
        loss: "bce" (targets from 0 to 1), "mse", or "auto": "bce" for bytes and numbers from 0 to 1.
        corruption: for "denoising": "gaussian" noise of the standard deviation ``noise`` in units of the
            targets, or "masking", which blanks each number with the probability ``noise``.
        penalty: for "sparse": "kl" to the mean ``activity``, for codes from 0 to 1, or "l1";
            ``penalty_weight`` is its factor.
        greedy: train each dense layer or convolution with its mirror image first, from the lowest up, on the
            codes of those below, for ``epochs`` each (Bengio et al. 2007); then, if ``finish``, all together.
        validation_data: rows like ``x`` to be measured on after each epoch.
        epochs, batch_size, callbacks, seed, verbose: as of :func:`kilter.fit`; ``seed`` is also that of the
            decoder's first weights and of the noise.
        optimizer: a name or a Keras optimiser, whose configuration is used; ``learning_rate`` is the
            optimiser's own if None.

    Returns a :class:`Pretrained`. Its figures have ``error`` beside ``baseline``, the error of the mean row.
    Raises :class:`~kilter.errors.ModelError`, :class:`~kilter.errors.DataError` or
    :class:`~kilter.errors.OptionError` before anything is trained.

    Example:
        >>> import numpy as np
        >>> rows = np.random.default_rng(0).random((64, 6), dtype="float32")
        >>> small = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, "relu", name="code")])
        >>> done = autoencoder(small, rows, kind=("tied", "denoising"), epochs=2, verbose=0)
        >>> done.encoder.output_shape, done.decoder.output_shape
        ((None, 3), (None, 6))
    """
    kinds = _checked_kinds(kind)
    training = Training(epochs, batch_size, optimizer, learning_rate, seed, verbose, tuple(callbacks))
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
    images = [] if decoder is not None else mirrored(line, seeds=Seeds(seed), tied="tied" in kinds)
    head = _mirror(images, subject) if decoder is None else _copied_decoder(decoder, subject)
    _check_gives_rows(head, subject)
    histories = train_greedily(subject, line, images, task, training) if greedy else []
    model = PretextModel(subject.encoder, head, task, seed=seed)
    if not greedy or finish:
        histories.append(training.run(model, subject.rows, subject.held_out))
    else:
        model.compile(optimizer=training.make_optimizer())  # pyright: ignore[reportArgumentType]
    figures = _figures(model, task, subject, seed)
    notes = reconstruction_notes(figures)
    return Pretrained(
        task=_task_name(kinds, line, greedy=greedy),
        encoder=subject.encoder,
        decoder=as_model([*map(_loose, head.layers), *targets.back()], subject.code_shape, "decoder"),
        history=joined(histories),
        figures=figures,
        notes=notes,
        learnt=not notes,
    )


def _mirror(images: Sequence[Layers], subject: Subject) -> keras.Model:
    backward = [layer for stage in reversed(images) for layer in stage]
    return as_model(backward, subject.code_shape, "mirror")


def _figures(model: PretextModel, task: Reconstruction, subject: Subject, seed: int) -> dict[str, float]:
    figures = reconstruction_figures(model, subject, baseline_error(subject, task.targets, seed), seed)
    if task.sparsity is not None:
        codes = predict(subject.encoder, subject.measured_rows(seed), verbose=0)
        figures["activity"] = float(np.abs(codes).mean())
    return figures


def _checked_kinds(kind: str | Sequence[str]) -> tuple[str, ...]:
    kinds = (kind,) if isinstance(kind, str) else tuple(kind)
    for one in kinds:
        check_name("kind", one, KINDS)
    if not kinds or ("plain" in kinds and len(kinds) > 1):
        raise OptionError(
            expected='kind as "plain", or one or several of ' + ", ".join(KINDS[1:]),
            received=f"kind={kind!r}",
            remedy='for example kind=("tied", "denoising")',
        )
    return kinds


def _checked_noise(corruption: Corruption, strength: float) -> Noise:
    check_name("corruption", corruption, CORRUPTIONS)
    most = 1.0 if corruption == "masking" else 10.0
    if not isinstance(strength, int | float) or not 0 < strength < most:
        raise OptionError(
            expected=f"noise above 0 and below {most:g} for {corruption}",
            received=f"noise={strength!r}",
            remedy="0.3 is usual",
        )
    return Noise(corruption, float(strength))


def _checked_sparsity(penalty: Penalty, weight: float, activity: float) -> Sparsity:
    check_name("penalty", penalty, PENALTIES)
    if not isinstance(weight, int | float) or not 0 < weight < float("inf"):
        raise OptionError(
            expected="penalty_weight above 0", received=f"penalty_weight={weight!r}", remedy="1e-3 is a start"
        )
    if not isinstance(activity, int | float) or not 0 < activity < 1:
        raise OptionError(
            expected="activity above 0 and below 1", received=f"activity={activity!r}", remedy="0.05 is usual"
        )
    return Sparsity(penalty, float(weight), float(activity))


def _line(
    encoder: keras.Model, kinds: Sequence[str], decoder: keras.Model | None, *, greedy: bool
) -> list[Link]:
    """The encoder's layers in order; empty where a decoder is given, which any encoder can have."""
    if decoder is not None and (greedy or "tied" in kinds):
        raise OptionError(
            expected="a decoder that is the encoder's mirror image, for kind='tied' and greedy=True",
            received="decoder= beside them",
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
            expected="codes from 0 to 1 for penalty='kl', such as a sigmoid gives",
            received=f"encoder {name!r} with codes from {codes.min():.3g} to {codes.max():.3g}",
            remedy="end the encoder in a sigmoid, or take penalty='l1'",
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
            expected=f"a decoder of codes of shape {subject.code_shape}, as the encoder gives",
            received=f"model {decoder.name!r}, which takes {', '.join(map(str, takes))}",
            remedy=f"begin it with keras.Input({subject.code_shape})",
        )
    return copy_model(decoder).model


def _check_gives_rows(head: keras.Model, subject: Subject) -> None:
    gives = [tuple(one.shape[1:]) for one in head.outputs]
    if gives != [subject.shape]:
        raise ModelError(
            expected=f"a decoder that gives rows of shape {subject.shape}",
            received=f"model {head.name!r}, which gives {', '.join(map(str, gives))}",
            remedy="end it in a layer of that shape",
        )


def _loose(layer: Any) -> Any:
    return layer.loose() if isinstance(layer, TiedDense | TiedConv2DTranspose) else layer


def _task_name(kinds: Sequence[str], line: Sequence[Link], *, greedy: bool) -> str:
    convolves = any(isinstance(link.layer, keras.layers.Conv2D) for link in line)
    words = [one for one in KINDS[1:] if one in kinds or (one == "convolutional" and convolves)]
    return " ".join([*(["greedy"] if greedy else []), *words, "autoencoder"])
