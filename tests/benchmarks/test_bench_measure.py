from __future__ import annotations

import pytest

from bench import peers, process
from bench.measure import Plan, groups, measure
from bench.peers import PEERS, Peer, settings_for, with_steps_per_execution
from bench.workloads import WORKLOADS
from run import parse_options

# A peer without a framework: it answers as it was told to.
FAKE_PEER = """
import json, sys
steps = int(sys.argv[-1]) if sys.argv[-2] == "--steps-per-execution" else 1
def answer(**fields): print(json.dumps(fields), flush=True)
answer(versions={"fake": "1.0"})
log = open(LOG, "a")
for number, line in enumerate(sys.stdin):
    if line.strip() != "epoch":
        break
    print(NAME, file=log, flush=True)
    if number == FAILS_AT:
        sys.exit("out of luck")
    answer(seconds=SECONDS / steps, loss=2.0, call_seconds=None, compile_seconds=None, peak_bytes=1000)
"""


@pytest.fixture
def fakes(tmp_path):
    """A maker of peers out of the program above, and the file where each epoch leaves its peer's name."""
    log = tmp_path / "order"

    def make(name, *, seconds=1.0, fails_at=-1, probes=False):
        values = f"NAME, SECONDS, FAILS_AT, LOG = {name!r}, {seconds}, {fails_at}, {str(log)!r}\n"
        (tmp_path / f"{name}_fake.py").write_text(values + FAKE_PEER)
        return Peer(name, f"{name}_fake", None, (("PYTHONPATH", str(tmp_path)),), probes=probes)

    return make, log


def plan(tmp_path, rounds=2, probes=(2, 4)):
    return Plan(rounds, probes, 20.0, tmp_path, tmp_path / "scratch", lambda _line: None)


def test_epochs_are_interleaved_after_each_peer_has_warmed_up(fakes, tmp_path):
    make, log = fakes
    measured = measure(WORKLOADS[3], [make("kilter"), make("other", seconds=3.0)], plan(tmp_path))
    warm, measured_rounds = ["kilter", "other"], ["kilter", "kilter", "other", "other"] * 2
    assert log.read_text().split() == warm + measured_rounds
    assert [(run.peer, [epoch.seconds for epoch in run.epochs]) for run in measured.runs] == [
        ("kilter", [1.0, 1.0]),
        ("other", [3.0, 3.0]),
    ]
    assert measured.runs[0].versions == (("fake", "1.0"),)
    assert measured.failures == {}


@pytest.mark.parametrize("fails_at", [0, 1, 2])
def test_a_peer_that_fails_is_named_with_its_last_words_and_the_others_go_on(fakes, tmp_path, fails_at):
    make, _log = fakes
    measured = measure(WORKLOADS[3], [make("broken", fails_at=fails_at), make("kilter")], plan(tmp_path))
    assert [(run.peer, len(run.epochs)) for run in measured.runs] == [("kilter", 2)]
    assert measured.failures == {"broken": "broken ended: out of luck"}


def test_a_silent_peer_is_given_up(fakes, tmp_path):
    make, _log = fakes
    peer = make("silent")
    (tmp_path / "silent_fake.py").write_text("import time; time.sleep(60)")
    with process.PeerProcess(peer, WORKLOADS[3], tmp_path, tmp_path, patience=0.5) as silent:  # noqa: SIM117
        with pytest.raises(process.PeerFailedError, match=r"was silent for 0 s|was silent for 1 s"):
            silent.wait_ready()


def test_the_best_steps_per_execution_is_measured_and_said(fakes, tmp_path):
    make, _log = fakes
    measured = measure(WORKLOADS[3], [make("probing", probes=True)], plan(tmp_path))
    assert measured.probes == {2: 0.5, 4: 0.25}
    assert [(run.note, run.epochs[0].seconds) for run in measured.runs] == [("steps_per_execution=4", 0.25)]


def test_groups_hold_the_reference_and_every_peer_once():
    found = groups(PEERS, 4)
    assert all(group[0].name == "kilter" and len(group) <= 4 for group in found)
    assert [peer.name for group in found for peer in group[1:]] == [peer.name for peer in PEERS[1:]]


def test_groups_of_one_room_still_pair_each_peer_with_the_reference():
    assert [len(group) for group in groups(PEERS, 0)] == [2] * (len(PEERS) - 1)
    assert groups(PEERS[:1], 9) == [[PEERS[0]]]
    assert groups(PEERS[3:5], 9) == [list(PEERS[3:5])]


def test_settings_that_would_tune_one_peer_are_left_out(monkeypatch, tmp_path):
    monkeypatch.setenv("XLA_FLAGS", "--fast")
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.setenv("KILTER_DATA", "kept")
    keras_jax = next(peer for peer in PEERS if peer.name == "keras-jax")
    settings = settings_for(keras_jax, tmp_path)
    assert "XLA_FLAGS" not in settings
    assert (settings["KERAS_BACKEND"], settings["KILTER_DATA"]) == ("jax", "kept")


def test_every_environment_has_its_pinned_requirements():
    for environment in {peer.environment for peer in PEERS if peer.environment}:
        lines = (peers.HERE / "peers" / f"{environment}.txt").read_text().split("\n")
        assert all("==" in line for line in lines if line)


def test_options_resolve_names_and_quick_cuts_rows(capsys):
    options = parse_options(["--workloads", "cnn-64,mlp-32", "--peers", "torch", "--quick"])
    assert [workload.name for workload in options.workloads] == ["cnn-64", "mlp-32"]
    assert {workload.rows for workload in options.workloads} == {1_000}
    assert options.rounds == 2
    for wrong in (["--peers", "tourch"], ["--rounds", "0"], ["--workloads", ","]):
        with pytest.raises(SystemExit, match="2"):
            parse_options(wrong)
        assert "expected" in capsys.readouterr().err


def test_steps_per_execution_reaches_the_command_line():
    peer = with_steps_per_execution(PEERS[4], 64)
    assert peer.arguments[-2:] == ("--steps-per-execution", "64")
    assert not peer.probes
