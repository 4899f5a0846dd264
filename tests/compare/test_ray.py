"""A search on a real Ray cluster of two nodes: one table, the trials of one machine, a lost node survived."""

import os
import threading
import time

import pytest
from tests.compare.test_search import OVER, small

import kilter

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.long


@pytest.fixture
def cluster():
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    node = made.add_node(num_cpus=1)
    yield made, node
    made.shutdown()


def test_the_trials_of_one_machine_though_a_node_is_lost(cluster, tmp_path):
    made, node = cluster
    options = {"sampler": "random", "trials": 6, "verbose": 0}
    here = kilter.search(small(), OVER, workers=1, out=tmp_path / "here", **options)

    def lose():
        deadline = time.monotonic() + 300
        while not list(tmp_path.glob("there/trial-*")) and time.monotonic() < deadline:
            time.sleep(0.2)
        made.remove_node(node, allow_graceful=False)

    loser = threading.Thread(target=lose)
    loser.start()
    there = kilter.search(small(), OVER, ray=made.address, out=tmp_path / "there", **options)
    loser.join()
    assert [one.score for one in there.trials] == [one.score for one in here.trials]
    assert [one.values for one in there.trials] == [one.values for one in here.trials]
    assert len(list(tmp_path.glob("there/trial-*/*/model.keras"))) == 6
    assert not [name for name in os.listdir(tmp_path / "there") if name.startswith(".")]
