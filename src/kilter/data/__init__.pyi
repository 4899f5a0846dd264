from kilter.data import augmentation as augmentation
from kilter.data.checks import check as check
from kilter.data.dataset import Dataset as Dataset, Source as Source, Splits as Splits, Task as Task
from kilter.data.encoding import Column as Column, TableEncoding as TableEncoding
from kilter.data.folds import fold as fold
from kilter.data.loading import FORMATS as FORMATS, Format as Format, load as load
from kilter.data.named import NAMED_SETS as NAMED_SETS
from kilter.data.scaling import Moments as Moments, moments as moments
from kilter.data.splitting import split as split
from kilter.data.streaming import stream as stream
from kilter.data.summary import (
    ClassCount as ClassCount,
    ColumnSummary as ColumnSummary,
    PartSummary as PartSummary,
    SourceSummary as SourceSummary,
    describe as describe,
)
