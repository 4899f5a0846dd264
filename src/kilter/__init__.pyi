from kilter import (
    data as data,
    errors as errors,
    nn as nn,
    pretrain as pretrain,
    recipe as recipe,
    report as report,
    runs as runs,
    schedules as schedules,
)
from kilter._accelerate import accelerate as accelerate, engine as engine, restore as restore
from kilter._compare.compare import compare as compare, sweep as sweep
from kilter._compare.search import search as search
from kilter._diagnosis.callback import Doctor as Doctor
from kilter._diagnosis.diagnose import diagnose as diagnose
from kilter._diagnosis.thresholds import Thresholds as Thresholds
from kilter._engine.averaging import (
    ExponentialMovingAverage as ExponentialMovingAverage,
    StochasticWeightAverage as StochasticWeightAverage,
)
from kilter._engine.batch_statistics import refresh_batch_norm as refresh_batch_norm
from kilter._engine.inference import evaluate as evaluate, predict as predict
from kilter._engine.measuring import measured_steps as measured_steps, probe as probe
from kilter._engine.optax_optimizer import OptaxOptimizer as OptaxOptimizer
from kilter._estimators import KilterClassifier as KilterClassifier, KilterRegressor as KilterRegressor
from kilter._fit import fit as fit
from kilter._infer.calibration import calibration as calibration
from kilter._infer.folding import fold_batch_norm as fold_batch_norm, largest_difference as largest_difference
from kilter._infer.half_precision import to_half as to_half
from kilter._infer.monte_carlo import predict_mc as predict_mc
from kilter._infer.sparsity import zero_small_weights as zero_small_weights
from kilter._studies.encoders import Pretraining as Pretraining, Way as Way
from kilter._studies.reuse_study import reuse_study as reuse_study
from kilter._studies.search_reuse import search_reuse as search_reuse
from kilter._transfer.cutting import cuts as cuts
from kilter._transfer.fine_tuning import fine_tune as fine_tune
from kilter._transfer.reusing import reuse as reuse
from kilter._transfer.sources import load_source as load_source
from kilter._transfer.stages import Stage as Stage
from kilter._treatment.policy import Policy as Policy
from kilter._treatment.treat import treat as treat
from kilter._tuning.clip_threshold import clip_threshold as clip_threshold
from kilter._tuning.curvature import largest_curvature as largest_curvature
from kilter._tuning.find_lr import find_lr as find_lr
from kilter._tuning.noise_scale import gradient_noise_scale as gradient_noise_scale

__version__: str
