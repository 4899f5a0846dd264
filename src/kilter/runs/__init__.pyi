from kilter.runs.cross_validation import CrossValidation as CrossValidation, cross_validate as cross_validate
from kilter.runs.directory import Run as Run, create_run as create_run, reopen_run as reopen_run
from kilter.runs.reading import RunRecords as RunRecords, list_runs as list_runs, open_run as open_run
from kilter.runs.recorder import Recorder as Recorder
from kilter.runs.records import RunSummary as RunSummary
from kilter.runs.replaying import Replay as Replay, replay as replay, replay_with as replay_with
from kilter.runs.termination import Interrupted as Interrupted
from kilter.runs.training import TrainResult as TrainResult, resume as resume, train as train
