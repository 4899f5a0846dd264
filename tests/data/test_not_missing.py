"""NA as a value and NA as a hole: said where both could be meant, and as the person says."""

import pytest

from kilter.data import load

ROWS = ["1,NA,no", "2,EU,yes", "3,NA,no", "4,,yes", "NA,EU,no", "6,AS,yes"] * 6


@pytest.fixture
def path(tmp_path):
    (tmp_path / "sales.csv").write_text("size,region,paid\n" + "\n".join(ROWS) + "\n")
    return tmp_path / "sales.csv"


def test_a_null_value_beside_empty_fields_is_named(path):
    notes = [one for one in load(path).notes if "NA counts as missing" in one]
    assert notes == [
        'NA counts as missing in column "region" (12 rows, and 6 empty ones); if it is a value: '
        "--set 'data.values=[\"NA\"]' (in Python values=)"
    ]


@pytest.mark.parametrize("entry", ["NA", "region=NA"])
def test_a_value_is_a_category_in_training_and_prediction(entry, path):
    source = load(path, values=[entry])
    assert "region=NA" in source.train.features
    assert "size" in source.train.features  # NA among numbers is missing as before
    new = load(path, encoding=source.encoding, unlabelled=True)
    assert (new.train.x == source.train.x).all()


def test_one_column_alone_keeps_its_values(path, tmp_path):
    text = (
        path.read_text().replace("paid", "paid,town").replace("no\n", "no,NA\n").replace("yes\n", "yes,X\n")
    )
    other = tmp_path / "towns.csv"
    other.write_text(text)
    features = load(other, values=["region=NA"], target="paid").train.features
    assert "region=NA" in features
    assert "town=NA" not in features


def test_columns_without_empty_fields_are_not_named(path):
    path.write_text(path.read_text().replace(",,", ",AF,"))
    assert not any("values=" in one for one in load(path).notes)
