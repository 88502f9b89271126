"""Agreement of indices with a gold standard."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
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


def evaluate(folder: Path, gold: str, scores: str) -> dict[str, Any]:
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


def test_limits_hold_for_any_reader_and_not_for_their_mean_alone(tmp_path: Path) -> None:
    result = evaluate(tmp_path, GOLD, READERS)
    limits = result["limits_of_agreement"]

    # Readers at -2 and +2 of every case: the variance of a reader is 8, and of the difference of two 16.
    assert (result["bland_altman_lower_points"], result["bland_altman_upper_points"]) == (0, 0)
    assert limits["reader_to_gold"]["upper_points"] == pytest.approx(1.96 * 8**0.5)
    assert limits["reader_to_gold"]["bias_ci95_points"][1] == pytest.approx(1.96 * (8 / 2) ** 0.5)
    assert limits["between_readers"]["lower_points"] == pytest.approx(-1.96 * 16**0.5)


def in_modalities(*shifts: tuple[str, str, float]) -> str:
    rows = [f"{case},{reader},{modality},{value + shift}" for modality, reader, shift in shifts
            for case, value in (("a", 10), ("b", 20), ("c", 30), ("d", 40))]  # fmt: skip
    return "case,reader,modality,index_percent\n" + "\n".join(rows) + "\n"


def test_two_modalities_of_the_same_readers_are_compared(tmp_path: Path) -> None:
    glass_and_screen = (("glass", "x", 0), ("glass", "y", 2), ("screen", "x", 3), ("screen", "y", 5))
    result = evaluate(tmp_path, GOLD, in_modalities(*glass_and_screen))

    assert {name: own["mae_points"] for name, own in result["modalities"].items()} == {"glass": 1, "screen": 4}
    between = result["between_modalities"]
    assert between["difference"] == "screen − glass"
    assert (between["same_reader"]["lower_points"], between["same_reader"]["upper_points"]) == (3, 3)
    assert between["other_reader"]["upper_points"] == pytest.approx(3 + 1.96 * (2 * 2) ** 0.5)


def test_one_reader_in_two_modalities_has_limits_of_his_own_only(tmp_path: Path) -> None:
    result = evaluate(tmp_path, GOLD, in_modalities(("glass", "x", 0), ("screen", "x", 3)))

    assert result["between_modalities"]["same_reader"]["bias_points"] == 3
    assert result["between_modalities"]["other_reader"] is None


def test_readers_of_one_modality_each_are_readers_like_others(tmp_path: Path) -> None:
    result = evaluate(tmp_path, GOLD, in_modalities(("glass", "x", 0), ("program", "z", 1)))

    assert result["of"] == "mean of 2 readers"
    assert "modalities" not in result


def test_modalities_that_not_every_reader_read_in_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="holds the modalities 'glass', 'screen', not each with the same readers"):
        evaluate(tmp_path, GOLD, in_modalities(("glass", "x", 0), ("glass", "y", 0), ("screen", "x", 3)))


def test_scores_far_off_are_listed_and_counted_by_cause(tmp_path: Path) -> None:
    scores = "case,index_percent,cause\na,16,Stain\nb,14,\nc,40,heterogeneity\nd,42,visual error\n"
    review = evaluate(tmp_path, GOLD, scores)["discrepancies"]

    # The visual error of d is within 5 points.
    assert (review["scores"], review["not_reviewed"]) == (3, 1)
    assert review["by_cause"] == {
        "heterogeneity": {"scores": 1, "percent": 50, "published_percent": 56.0},
        "stain": {"scores": 1, "percent": 50, "published_percent": 9.1},
    }
    assert [(row["case"], row["difference_points"], row["cause"]) for row in review["listed"]] == [
        ("c", 10, "heterogeneity"),
        ("a", 6, "stain"),
        ("b", -6, None),
    ]
    with pytest.raises(DataSetError, match="line 2 has the cause 'weather', expected one of heterogeneity, visual"):
        evaluate(tmp_path, GOLD, scores.replace("Stain", "weather"))


def test_the_command_tells_limits_and_causes(tmp_path: Path, ki67: Callable[..., Any]) -> None:
    gold = written(tmp_path / "gold.csv", GOLD)
    scores = in_modalities(("glass", "x", 0), ("glass", "y", 2), ("screen", "x", 3), ("screen", "y", 8))
    told = ki67("evaluate", "index", gold, written(tmp_path / "scores.csv", scores)).stdout

    assert "screen − glass, same reader: bias +4.50 points, 95 % limits" in told
    assert "any two readers: bias +0.00 points, 95 % limits -3.9 to +3.9" in told
    assert "4 scores more than 5 points off" in told
