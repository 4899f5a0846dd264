"""What the outputs of a trained model mean: classes with probabilities, or numbers; with uncertainty."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars

from kilter._engine.objective_for import objective_for
from kilter._infer.monte_carlo import predict_mc
from kilter._infer.outputs import Outputs
from kilter._progress import Progress
from kilter.data import Dataset, TableEncoding
from kilter.data.folders import HEIGHT, WIDTH
from kilter.data.images import FILE
from kilter.data.masks import mask_png
from kilter.errors import ModelError, OptionError
from kilter.runs.trained import Trained

# Standard deviations of a normal distribution within which 95 % of it lie.
INTERVAL: Final = 1.96
_DIGITS: Final = 7  # of a float32, in which a network computes


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """The spread of a row's samples: ``std`` ``[n, k]``; entropy and mutual information in nats ``[n]``."""

    std: np.ndarray
    entropy: np.ndarray | None = None
    mutual_information: np.ndarray | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        """The fields that are set, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True, eq=False)
class Predictions:
    """One prediction per row: classes ``[n]`` with probabilities ``[n, classes]``, or numbers ``[n, k]``.

    Or masks, class indexes ``[n, h, w]``.
    ``classes``: also the names of several numbers.
    """

    answers: np.ndarray
    classes: tuple[str, ...] = ()
    probabilities: np.ndarray | None = None
    column: str = "prediction"
    uncertainty: Uncertainty | None = None

    @property
    def chosen(self) -> np.ndarray:
        """The probability of the class that is answered, ``[n]``; only with probabilities."""
        assert self.probabilities is not None
        place = {name: index for index, name in enumerate(self.classes)}
        codes = np.array([place[name] for name in self.answers.tolist()], np.int64)
        return self.probabilities[np.arange(len(codes)), codes]

    @property
    def is_masks(self) -> bool:
        """Whether each row has a class for each pixel."""
        return self.answers.ndim == 3

    def masks(self, parts: Iterable[Dataset]) -> Iterator[tuple[Path, bytes]]:
        """The name of each picture's mask, and the mask as a PNG of the picture's size."""
        rows = polars.concat([_inputs(part) for part in parts], how="diagonal_relaxed")
        taken: set[str] = set()
        for mask, name, *size in zip(
            self.answers, *(rows[one] for one in (FILE, HEIGHT, WIDTH)), strict=True
        ):
            named = str(Path(name).with_suffix(".png"))
            named = f"{name}.png" if named in taken else named  # of a.jpg and a.png
            taken.add(named)
            yield Path(named), mask_png(mask, self.classes, (size[0], size[1]))

    def frame(self) -> polars.DataFrame:
        """The table of predictions, with a column for each class or number, to the digits of float32."""
        if self.is_masks:
            counts = [(self.answers == i).mean(axis=(1, 2)) for i in range(len(self.classes))]
            columns = self._columns("share", np.stack(counts, axis=1))
        elif self.probabilities is not None:
            shares = self._columns("probability", self.probabilities)
            columns = {"prediction": self.answers.tolist(), "probability": self.chosen, **shares}
        else:
            columns = self._columns(self.column, self.answers)
        if self.uncertainty is not None:
            spread = self.uncertainty.arrays()
            std = spread.pop("std")
            columns |= self._columns("std", std) | spread
            if self.probabilities is None and self.column == "prediction":
                columns |= self._columns("low", self.answers - INTERVAL * std)
                columns |= self._columns("high", self.answers + INTERVAL * std)
        frame = polars.DataFrame(columns)
        return frame.with_columns(polars.selectors.float().round_sig_figs(_DIGITS))

    def table(
        self, parts: Mapping[str, Dataset], *, ids: Sequence[str], with_inputs: bool
    ) -> polars.DataFrame:
        """The answers beside what names their rows, or beside all columns of the source.

        ``parts``: the rows, by the name of the part, which is a column if there are several. ``ids``: columns
        of the source that name its rows; without any, rows are named by their number, from 0.
        """
        answers = self.frame()
        named = [_inputs(part) if with_inputs else row_names(part, ids) for part in parts.values()]
        rows = polars.concat(named, how="diagonal_relaxed")
        if len(parts) > 1:
            names = np.repeat(list(parts), [len(part) for part in parts.values()])
            rows.insert_column(0, polars.Series("part", names.tolist()))
        taken = {one: f"{one} (input)" for one in rows.columns if one in answers.columns}
        return polars.concat([rows.rename(taken), answers], how="horizontal")

    def _columns(self, name: str, values: np.ndarray) -> dict[str, Any]:
        """Columns of values [n, k] by name, each with its class or, if there are several, its number."""
        if values.shape[1] == 1:
            return {name: values[:, 0]}
        endings = self.classes or range(1, values.shape[1] + 1)
        return {f"{name}_{ending}": column for ending, column in zip(endings, values.T, strict=True)}

    def arrays(self) -> dict[str, np.ndarray]:
        """The same as arrays; text has NumPy's unicode type, which needs no pickle."""
        spread = {} if self.uncertainty is None else self.uncertainty.arrays()
        if self.is_masks:
            return {"masks": self.answers, "classes": np.array(self.classes, dtype=np.str_)}
        if self.probabilities is None:
            return {self.column: self.answers, **spread}
        return {
            "prediction": self.answers,
            "probabilities": self.probabilities,
            "classes": np.array(self.classes, dtype=np.str_),
            **spread,
        }


def _inputs(part: Dataset) -> polars.DataFrame:
    if part.inputs is None:
        raise OptionError(
            expected="--with-inputs for a table or a folder of pictures",
            received=f"{part.name}, whose rows have no names",
            remedy="leave --with-inputs out",
        )
    return part.inputs


def name_columns(encoding: TableEncoding | None) -> tuple[str, ...]:
    """The columns that name the rows of a table, or else of images."""
    return (FILE,) if encoding is None else encoding.ids


def row_names(part: Dataset, ids: Sequence[str]) -> polars.DataFrame:
    """The columns ``ids`` of the source, or the numbers of its rows."""
    if part.inputs is not None and (known := [one for one in ids if one in part.inputs.columns]):
        return part.inputs.select(known)
    return polars.DataFrame({"row": np.arange(len(part))})


def uncertain(
    trained: Trained, parts: Sequence[Dataset], *, samples: int, seed: int, progress: Progress
) -> Predictions:
    """The mean of ``samples`` predictions with dropout for the rows of all ``parts``, and their spread."""
    if trained.data is not None and trained.data.task == "segmentation":
        raise OptionError(
            expected="--mc for classes or numbers",
            received="a model that gives each pixel a class",
            remedy="leave --mc out",
        )
    outputs = _outputs(trained, parts[0])
    how: dict[str, Any] = {"samples": samples, "seed": seed, "outputs": outputs, "verbose": progress}
    drawn = [predict_mc(trained.model, part.x, **how) for part in parts]
    mean = drawn[0].mean if len(drawn) == 1 else np.concatenate([one.mean for one in drawn])
    found = predictions(trained, mean, parts[0], averaged=True)
    std = np.concatenate([one.std for one in drawn]).reshape(len(mean), -1)
    if found.probabilities is not None and std.shape[1] == 1:
        std = np.repeat(std, 2, axis=1)  # p and 1 - p have the same spread
    if outputs == "numbers":
        return replace(found, uncertainty=Uncertainty(std))
    entropy, doubt = (
        np.concatenate([getattr(one, name) for one in drawn]) for name in ("entropy", "mutual_information")
    )
    return replace(found, uncertainty=Uncertainty(std, entropy, doubt))


def _outputs(trained: Trained, rows: Dataset) -> Outputs:
    # A bare .keras file does not say what its outputs mean, so they are averaged unchanged.
    if trained.data is None or trained.data.task == "regression":
        return "numbers"
    return "logits" if objective_for(trained.model, rows).from_logits else "probabilities"


def joined(pieces: Sequence[Any]) -> np.ndarray:
    """The outputs for several parts of the data in one array; :class:`ModelError` for several outputs."""
    for outputs in pieces:
        if not isinstance(outputs, np.ndarray):
            raise ModelError(
                expected="a model with one output",
                received=f"a {type(outputs).__name__} of {len(outputs)}",
                remedy="predict with kilter.predict",
            )
    return np.concatenate(pieces)


def predictions(
    trained: Trained, outputs: np.ndarray, rows: Dataset, *, averaged: bool = False
) -> Predictions:
    """The predictions for ``rows`` from ``outputs`` [n, k]; ``averaged`` outputs are probabilities."""
    if trained.data is not None and trained.data.task == "segmentation":
        masks = objective_for(trained.model, rows).classes_of(outputs)
        return Predictions(masks.astype(np.uint8), trained.data.classes)
    outputs = outputs.reshape(len(outputs), -1)
    if trained.data is None:
        return Predictions(outputs, column="output")
    if trained.data.task == "regression":
        encoding = trained.data.table_encoding
        names = [] if encoding is None else [name.strip() for name in encoding.target.split(",")]
        return Predictions(outputs, tuple(names) if 1 < len(names) == outputs.shape[1] else ())
    objective = objective_for(trained.model, rows)
    if averaged:
        objective = replace(objective, from_logits=False)
    names = np.array(trained.data.classes, dtype=np.str_)
    return Predictions(
        answers=names[
            objective.classes_of(outputs, positive=trained.data.positive, threshold=trained.data.threshold)
        ],
        classes=trained.data.classes,
        probabilities=objective.probabilities(outputs),
    )
