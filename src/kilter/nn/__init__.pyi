from kilter.nn import pairing as pairing
from kilter.nn.builders import cnn as cnn, mlp as mlp
from kilter.nn.depth import (
    DepthRecord as DepthRecord,
    LayerSignal as LayerSignal,
    variance_through_depth as variance_through_depth,
)
from kilter.nn.gain import (
    Gain as Gain,
    Moments as Moments,
    activation_moments as activation_moments,
    variance_gain as variance_gain,
)
from kilter.nn.losses import (
    Contrastive as Contrastive,
    ScaledHuber as ScaledHuber,
    SmoothedSparseCategoricalCrossentropy as SmoothedSparseCategoricalCrossentropy,
    SparseCategoricalFocalCrossentropy as SparseCategoricalFocalCrossentropy,
    SparseDice as SparseDice,
)
from kilter.nn.pairing import (
    PAIRINGS as PAIRINGS,
    Pairing as Pairing,
    VarianceScaling as VarianceScaling,
    is_paired as is_paired,
    pairing_of as pairing_of,
)
from kilter.nn.layers import PositionEmbedding as PositionEmbedding
from kilter.nn.layers import RReLU as RReLU
from kilter.nn.unit_variance import LayerScaling as LayerScaling, LsuvRecord as LsuvRecord, lsuv as lsuv
from kilter.nn.zeros import PenalizedWeights as PenalizedWeights, l1_zeros as l1_zeros
