"""The human-machine competition."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ki67.cli import app
from ki67.errors import DataSetError
from ki67.evaluation.compete import answer_score, compete
from ki67.evaluation.rules import Rule
from ki67.evaluation.standard import standard_interval

# Feng et al. 2020, Table 3: slide, positive, negative, total, index; and Table 4: scores of ten doctors, AI; times.
TABLE_3 = """\
1,29961,299428,329389,9.10
2,50073,270593,320666,15.62
3,31119,73719,104838,29.68
4,20272,109013,129285,15.68
5,9854,79026,88880,11.09
6,11939,122641,134580,8.87
7,9332,100608,109940,8.49
8,232515,86582,319097,72.87
9,30003,270266,300266,9.99
10,85036,69088,154124,55.17
"""
TABLE_4 = """\
94 84 91 99 94 96 100 99 92 80 100
96 86 91 89 94 95 99 94 96 95 98
90 98 90 85 84 69 100 65 70 88 97
98 92 92 88 69 89 99 99 74 99 99
99 91 86 92 97 90 98 97 98 93 99
96 93 96 92 96 99 99 97 96 97 100
86 93 52 97 68 88 98 100 88 78 99
92 98 98 78 88 88 100 78 83 98 98
97 100 95 96 92 96 98 95 90 90 99
100 70 70 75 65 93 99 65 90 68 100
"""
PRINTED_AVERAGES = (94.8, 90.5, 86.1, 89.1, 84.7, 89.3, 99.0, 88.9, 87.7, 88.6, 98.9)
TIMES = ("28:27", "25:54", "28:56", "28:25", "20:33", "23:40", "18:46", "20:23", "26:55", "27:42", "23:19")
READERS = (*(f"Dr. {number}" for number in range(1, 11)), "AI")


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def run(folder: Path, standard: str, answers: str, **options: Any) -> dict[str, Any]:
    return compete(written(folder / "standard.csv", standard), written(folder / "answers.csv", answers), **options)


def paper_answers() -> str:
    rows = ["slide,reader,score,seconds"]
    for slide, line in enumerate(TABLE_4.splitlines(), 1):
        for reader, score, time in zip(READERS, line.split(), TIMES, strict=True):
            minutes, seconds = time.split(":")
            # The paper gives one time for all slides: it stands on the first.
            total = int(minutes) * 60 + int(seconds)
            rows.append(f"{slide},{reader},{score},{total if slide == 1 else 0}")
    return "\n".join(rows) + "\n"


@pytest.fixture
def paper(tmp_path: Path) -> dict[str, Any]:
    return run(tmp_path, "slide,positive,negative,cells,index_percent\n" + TABLE_3, paper_answers())


def test_table_4_of_the_paper_comes_out_but_for_one_average(paper: dict[str, Any]) -> None:
    found = {reader["reader"]: reader for reader in paper["readers"]}
    differ = [name for name, printed in zip(READERS, PRINTED_AVERAGES, strict=True)
              if round(found[name]["average_score"], 1) != printed]  # fmt: skip

    # Its ten scores add up to 903; the paper prints 89.3.
    assert differ == ["Dr. 6"]
    assert found["Dr. 6"]["average_score"] == pytest.approx(90.3)
    assert [reader["reader"] for reader in paper["readers"]][:3] == ["Dr. 7", "AI", "Dr. 1"]
    assert (found["AI"]["rank"], found["AI"]["seconds"]) == (2, 23 * 60 + 19)


def test_table_3_of_the_paper_comes_out_but_for_one_total(paper: dict[str, Any]) -> None:
    assert paper["warnings"] == ["slide 9: 30,003 + 270,266 = 300,269 cells, not 300,266"]
    assert paper["slides"][0]["standard"] == (9, 10)
    assert paper["slides"][7]["standard"] == (72, 73)


STANDARD = "slide,index_percent\na,9.1\nb,30\n"


def test_an_answer_within_the_whole_percents_around_the_gold_index_is_right(tmp_path: Path) -> None:
    result = run(
        tmp_path, STANDARD, "slide,reader,index_percent,seconds\na,x,10,60\nb,x,33,30\na,y,8,10\nb,y,30,10\n"
    )

    first, second = result["readers"]
    assert (first["reader"], first["average_score"], first["seconds"]) == ("y", 99.5, 20)
    assert first["scores"] == {"a": 99, "b": 100}
    assert second["scores"] == {"a": 100, "b": 97}
    assert second["bias_points"] == pytest.approx((0.9 + 3) / 2)


@pytest.mark.parametrize(
    ("rule", "score"), [(Rule.interval, 97.0), (Rule.points, 96.5), (Rule.relative, 100 - 350 / 29.5)]
)
def test_the_rule_can_be_chosen(rule: Rule, score: float) -> None:
    assert answer_score(33, 29.5, rule) == pytest.approx(score)


@given(answer=st.floats(0, 100), gold=st.floats(0, 100), rule=st.sampled_from(Rule))
def test_a_score_lies_within_0_and_100_and_the_gold_index_has_100(answer: float, gold: float, rule: Rule) -> None:
    assert 0 <= answer_score(answer, gold, rule) <= 100
    assert answer_score(gold, gold, rule) == 100
    assert all(answer_score(right, gold) == 100 for right in standard_interval(gold))


def test_equal_scores_are_ranked_by_time_and_equal_times_share_a_rank(tmp_path: Path) -> None:
    answers = "slide,reader,index_percent,seconds\n"
    answers += "".join(f"{slide},{reader},{{}},{time}\n".format("9" if slide == "a" else "30")
                       for reader, time in (("slow", 90), ("quick", 20), ("as quick", 20), ("unknown", ""))
                       for slide in "ab")  # fmt: skip

    ranks = {reader["reader"]: reader["rank"] for reader in run(tmp_path, STANDARD, answers)["readers"]}

    assert ranks == {"quick": 1, "as quick": 1, "slow": 3, "unknown": 4}


def test_a_slide_without_an_answer_is_scored_0_and_said(tmp_path: Path) -> None:
    result = run(tmp_path, STANDARD, "slide,reader,index_percent\na,x,9\na,y,9\nb,y,30\n")

    assert result["readers"][1]["average_score"] == 50
    assert result["slides"][1]["average_score"] == 50
    assert result["warnings"] == ["x did not answer 1 slide of 2: scored 0 there"]


def test_the_answers_are_written_for_reader_study_software(tmp_path: Path) -> None:
    file = tmp_path / "study.csv"

    run(tmp_path, STANDARD, "slide,reader,index_percent,modality\na,x,9,glass\nb,x,30,\n", imrmc=file)

    assert file.read_text() == "readerID,caseID,modalityID,score\nx,a,glass,9\nx,b,competition,30\n"


@pytest.mark.parametrize(
    ("standard", "answers", "what"),
    [
        ("slide\na\n", "slide,reader,score\na,x,1\n", "line 2 has neither an index_percent nor counts"),
        ("slide,index_percent\n", "slide,reader,score\na,x,1\n", "holds no slide"),
        ("slide,index_percent\na,1\na,2\n", "slide,reader,score\na,x,1\n", "line 3 names the slide 'a' again"),
        ("slide,positive,negative\na,0,0\n", "slide,reader,score\na,x,1\n", "line 2 counts 0 cells"),
        ("slide,positive,negative\na,-1,5\n", "slide,reader,score\na,x,1\n", "line 2 has the positive '-1'"),
        (STANDARD, "slide,reader,score\nc,x,1\n", "line 2 answers for the slide 'c', which the standard"),
        (STANDARD, "slide,reader,score\na,x,1\na,x,2\n", "line 3 is a second answer of 'x'"),
        (STANDARD, "slide,reader,score\na,x,\n", "line 2 has neither an index_percent nor a score"),
        (STANDARD, "slide,reader,score,index_percent\na,x,1,9\n", "line 2 has both"),
        (STANDARD, "slide,reader,index_percent\na,x,101\n", "line 2 has the index_percent '101'"),
        (STANDARD, "slide,reader,score,seconds\na,x,9,-3\n", "line 2 has the seconds '-3', expected a number of at"),
        (STANDARD, "slide,reader,score\n", "holds no answer"),
        (STANDARD, "slide,reader,score\na,x,1,2\n", "line 2 has more values"),
        (STANDARD, "slide,slide,reader\na,a,x\n", "has the column 'slide' twice"),
        (STANDARD, "slide,index_percent\na,9\n", "lacks the column 'reader'"),
    ],
)
def test_files_that_make_no_sense_are_refused(tmp_path: Path, standard: str, answers: str, what: str) -> None:
    with pytest.raises(DataSetError, match=what):
        run(tmp_path, standard, answers)


def test_the_command_prints_one_object_or_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    standard = written(tmp_path / "standard.csv", STANDARD)
    answers = written(tmp_path / "answers.csv", "slide,reader,index_percent,seconds\na,x,9,65\nb,x,29.5,60\n")

    app(["compete", str(standard), str(answers), "--json"], standalone_mode=False)
    result = json.loads(capsys.readouterr().out)
    app(["compete", str(standard), str(answers)], standalone_mode=False)
    table = capsys.readouterr().out

    assert result["readers"][0]["average_score"] == pytest.approx(99.75)
    assert not math.isnan(result["readers"][0]["bias_points"])
    assert "   1  x        99.8     2:05    -0.3" in table
