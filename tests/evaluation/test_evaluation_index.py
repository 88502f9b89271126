"""Agreement of indices with a gold standard."""

from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from ki67.errors import DataSetError
from ki67.evaluation.agreement import icc_a1
from ki67.evaluation.index import evaluate_index, pearson
from ki67.evaluation.index_figure import agreement_svg


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


def test_slides_are_cases(tmp_path: Path) -> None:
    assert evaluate(tmp_path, GOLD.replace("case", "slide"), GOLD)["cases"] == 4


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


def test_what_does_not_vary_has_no_correlation() -> None:
    assert icc_a1(np.full((4, 2), 7.0)) is None
    assert pearson(np.full(4, 7.0), np.arange(4.0)) is None


@pytest.mark.parametrize(
    ("scores", "what"),
    [
        ("case,index_percent\na,10\nb,20\nc,30\n", r"scores\.csv: lacks 1 cases that gold\.csv holds \(d\)"),
        (GOLD + "e,50\n", r"gold\.csv: lacks 1 cases that scores\.csv holds \(e\)"),
        (GOLD + "a,12\n", "line 6 names the case 'a' again"),
        ("case,index\na,10\n", "lacks the column 'index_percent', found case, index"),
        ("", "lacks the column 'index_percent', found nothing"),
        ("case,index_percent\na,high\n", "line 2 has the index_percent 'high'"),
        ("case,index_percent\na,101\n", "line 2 has the index_percent '101'"),
        ("case,index_percent\na,nan\n", "line 2 has the index_percent 'nan'"),
        ("case,index_percent\na\n", "line 2 has the index_percent ''"),
        ("case,index_percent\n ,4\n", "line 2 has no case"),
        ("name,index_percent\na,4\n", "line 2 has no case"),
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
    with pytest.raises(DataSetError, match="does not exist"):
        evaluate_index(tmp_path / "absent.csv", tmp_path / "gold.csv")
    (tmp_path / "latin.csv").write_bytes(b"case,index_percent\n\xe9,1\n")
    with pytest.raises(DataSetError, match="not UTF-8 text"):
        evaluate_index(tmp_path / "latin.csv", tmp_path / "gold.csv")


READERS = "case,reader,index_percent\n" + "".join(
    f"{case},{reader},{value + offset}\n"
    for reader, offset in (("x", -2), ("y", 2))
    for case, value in (("a", 10), ("b", 20), ("c", 30), ("d", 40))
)


def test_several_readers_are_judged_by_their_mean_each_alone_and_with_one_another(tmp_path: Path) -> None:
    result = evaluate(tmp_path, GOLD, READERS)

    assert result["of"] == "mean of 2 readers"
    assert result["mae_points"] == 0
    assert {name: own["bland_altman_bias_points"] for name, own in result["readers"].items()} == {"x": -2, "y": 2}
    assert result["between_readers"]["icc_consistency"] == pytest.approx(1)
    assert result["between_readers"]["icc"] < 1


def test_a_reader_must_answer_for_every_case(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match=r"scores\.csv: lacks 1 cases that gold\.csv holds \(d\)"):
        evaluate(tmp_path, GOLD, READERS.replace("d,y,42\n", ""))


def test_cases_in_another_class_are_told_at_each_cut_off(tmp_path: Path) -> None:
    result = evaluate(tmp_path, GOLD, "case,index_percent\na,10\nb,19\nc,30\nd,40\n")

    # 20 is high, 19 is not (St Gallen 2013); neither is above 14 less than the other (2011).
    assert result["cut_offs"]["st-gallen-2013"]["discordant"] == 1
    assert result["cut_offs"]["st-gallen-2011"] == {"kappa": 1, "discordant": 0}
    # |score - gold| / gold: 0, 1/20, 0, 0.
    assert result["positive_rate_accuracy_percent"] == pytest.approx(100 - 5 / 4)


def test_the_agreement_is_drawn(tmp_path: Path) -> None:
    readers = READERS.replace(",x,", ",<x>,")
    gold, scores = written(tmp_path / "gold.csv", GOLD), written(tmp_path / "scores.csv", readers)

    evaluate_index(gold, scores, figures=tmp_path / "figures")

    drawn = ET.parse(tmp_path / "figures" / "agreement.svg").getroot()
    told = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    # The differences are -2 and 2 on four cases each: their standard deviation is 2.14.
    assert {"<x>", "y", "bias +0.0", "-4.2", "+4.2"} <= set(told)
    markers = [
        path.get("transform") for path in drawn.iter("{http://www.w3.org/2000/svg}path") if path.get("transform")
    ]
    assert len(markers) == 2 * 2 * 4 + 2
    assert told[told.index("score (%)") + 1 :][:5] == ["0", "10", "20", "30", "40"]


def test_indices_that_are_all_alike_are_drawn() -> None:
    same = np.full(3, 5.0)
    ET.fromstring(agreement_svg(same, {"": same}))
