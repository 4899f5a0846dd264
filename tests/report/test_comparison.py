"""The page of a comparison: one file with every score, and no number that is none."""

import math

import pytest

from kilter._compare.comparison import Candidate, PairedRun, judge
from kilter.errors import RunError
from kilter.report import write_comparison


def comparison(path, *, metric="val_loss"):
    """Two runs that trained, and two that diverged."""

    def candidate(name, score):
        return Candidate(
            name, tuple(PairedRun(seed, score, 0, 2.0, ({metric: score},), "") for seed in (3, 4))
        )

    return judge([candidate("plain", 0.5), candidate("lost", math.nan)], metric, level=0.05, path=path)


def test_the_page_tells_every_score_and_draws_what_is_finite(tmp_path):
    page = write_comparison(comparison(tmp_path)).read_text(encoding="utf-8")
    told = page.partition("<main>")[2].partition("</main>")[0]
    assert page.count("<script>") == 2
    assert told.count("<td>diverged</td>") == 2
    assert told.count("<td>0.5</td>") == 5  # two pairs; mean, lowest and highest
    assert "Too few pairs to tell whether lost and plain differ" in told
    assert "NaN" not in told
    assert "nan" not in told
    assert told.count("data-chart=") == 2


def test_it_loads_nothing_from_elsewhere(tmp_path):
    page = write_comparison(comparison(tmp_path)).read_text(encoding="utf-8")
    own = page.partition("<script>")[0]
    assert "http" not in own
    assert "src=" not in own


def test_it_goes_where_it_is_told(tmp_path):
    place = tmp_path / "page.html"
    assert write_comparison(comparison(tmp_path / "absent"), place) == place
    with pytest.raises(RunError, match=r"absent.*report\.html"):
        write_comparison(comparison(tmp_path / "absent"))
