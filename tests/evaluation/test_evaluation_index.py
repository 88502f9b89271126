"""Agreement of indices with a gold standard."""

from pathlib import Path

import numpy as np
import pytest

from ki67.errors import DataSetError
from ki67.evaluation.index import evaluate_index, icc_2_1, pearson


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def evaluate(folder: Path, gold: str, scores: str) -> dict[str, float]:
    return evaluate_index(written(folder / "gold.csv", gold), written(folder / "scores.csv", scores))


GOLD = "case,index_percent\na,10\nb,20\nc,30\nd,40\n"


def test_equal_indices_agree_perfectly(tmp_path: Path) -> None:
    result = evaluate(tmp_path, GOLD, GOLD)

    assert result["cases"] == 4
    assert (result["mae_points"], result["rmse_points"], result["bland_altman_bias_points"]) == (0, 0, 0)
    assert result["icc"] == pytest.approx(1)
    assert result["pearson"] == pytest.approx(1)


def test_a_constant_offset_lowers_the_icc_but_not_the_correlation(tmp_path: Path) -> None:
    result = evaluate(tmp_path, GOLD, "index_percent,case,note\n45,d,x\n15,a,x\n25,b,\n35,c,x\n")

    assert result["mae_points"] == result["rmse_points"] == result["bland_altman_bias_points"] == 5
    assert result["bland_altman_lower_points"] == result["bland_altman_upper_points"] == 5
    assert result["pearson"] == pytest.approx(1)
    # MSR = 1000/3, MSC = 50, MSE = 0: 1000/3 / (1000/3 + 2 * 50 / 4).
    assert result["icc"] == pytest.approx((1000 / 3) / (1000 / 3 + 25))


def test_the_limits_of_agreement_are_1_96_standard_deviations(tmp_path: Path) -> None:
    result = evaluate(tmp_path, GOLD, "case,index_percent\na,11\nb,19\nc,31\nd,39\n")

    spread = np.std([1, -1, 1, -1], ddof=1)
    assert result["bland_altman_upper_points"] == pytest.approx(1.96 * spread)
    assert result["bland_altman_lower_points"] == pytest.approx(-1.96 * spread)


def test_the_icc_of_the_textbook_example_is_0_29() -> None:
    # Shrout and Fleiss 1979, Table 2 (six targets, four judges) and Table 4: ICC(2,1) = .29.
    ratings = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)

    assert icc_2_1(ratings) == pytest.approx(0.29, abs=0.005)


def test_what_does_not_vary_has_no_correlation() -> None:
    assert icc_2_1(np.full((4, 2), 7.0)) is None
    assert pearson(np.full(4, 7.0), np.arange(4.0)) is None


@pytest.mark.parametrize(
    ("scores", "what"),
    [
        ("case,index_percent\na,10\nb,20\nc,30\n", r"scores\.csv: lacks 1 cases that gold\.csv holds \(d\)"),
        (GOLD + "e,50\n", r"gold\.csv: lacks 1 cases that scores\.csv holds \(e\)"),
        (GOLD + "a,12\n", "line 6 names the case 'a' again"),
        ("case,index\na,10\n", "lacks the column 'index_percent', found case, index"),
        ("", "lacks the column 'case', found nothing"),
        ("case,index_percent\na,high\n", "line 2 has the index_percent 'high'"),
        ("case,index_percent\na,101\n", "line 2 has the index_percent '101'"),
        ("case,index_percent\na,nan\n", "line 2 has the index_percent 'nan'"),
        ("case,index_percent\na\n", "line 2 has the index_percent ''"),
        ("case,index_percent\n ,4\n", "line 2 has no case"),
        ('case,index_percent\n"a,4\n', "not a CSV file"),
    ],
)
def test_files_that_do_not_match_are_refused(tmp_path: Path, scores: str, what: str) -> None:
    with pytest.raises(DataSetError, match=what):
        evaluate(tmp_path, GOLD, scores)


def test_too_few_cases_and_missing_files_are_refused(tmp_path: Path) -> None:
    two = "case,index_percent\na,1\nb,2\n"
    with pytest.raises(DataSetError, match="holds 2 cases, at least 3"):
        evaluate(tmp_path, two, two)
    with pytest.raises(DataSetError, match="cannot be read"):
        evaluate_index(tmp_path / "absent.csv", tmp_path / "gold.csv")
    (tmp_path / "latin.csv").write_bytes(b"case,index_percent\n\xe9,1\n")
    with pytest.raises(DataSetError, match="not a CSV file in UTF-8"):
        evaluate_index(tmp_path / "latin.csv", tmp_path / "gold.csv")
