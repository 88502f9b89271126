"""The human-machine competition."""

import json
import math
import runpy
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

PAPER = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "paper_tables.py"))


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def run(folder: Path, standard: str, answers: str, **options: Any) -> dict[str, Any]:
    return compete(written(folder / "standard.csv", standard), written(folder / "answers.csv", answers), **options)


def test_tables_3_and_4_of_the_paper_come_out_but_for_what_does_not_add_up(tmp_path: Path) -> None:
    found = PAPER["recompute"](tmp_path)

    assert [(reader["rank"], reader["reader"]) for reader in found["ranking"]["readers"]][:3] == [
        (1, "Dr. 7"),
        (2, "AI"),
        (3, "Dr. 1"),
    ]
    assert found["ranking"]["readers"][1]["seconds"] == 23 * 60 + 19
    assert [slide["standard"] for slide in found["gold"]["slides"]] == [row[5] for row in PAPER["TABLE_3"]]
    assert found["differences"] == [
        "Table 3, slide 9: 30,003 + 270,266 = 300,269 cells, not 300,266",
        "Table 3, 'average' index 25.62 %: of all cells together it is 25.62 %, of the slides' indices 23.66 %",
        "Text, 'more than 200,000 cells per person': 199,107 by Table 3",
        "Table 4, average of Dr. 6: 90.3, not 89.3",
        "Table 4, average of slide 9: 94.9, not 93.9",
        "Table 4, average time: 24:58, not 25:31",
        "Abstract and text, accuracy of the program 99.4 %: 98.9 by Table 4",
    ]


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


def test_time_on_a_slide_that_was_not_answered_counts(tmp_path: Path) -> None:
    file = tmp_path / "study.csv"
    answers = "slide,reader,index_percent,seconds\na,x,9,10\nb,x,,50\na,y,,30\n"

    result = run(tmp_path, STANDARD, answers, imrmc=file)

    found = [(one["reader"], one["average_score"], one["seconds"], one["answered"]) for one in result["readers"]]
    assert found == [("x", 50, 60, 1), ("y", 0, 30, 0)]
    assert result["warnings"][1] == "y did not answer 2 slides of 2: scored 0 there"
    assert file.read_text() == "readerID,caseID,modalityID,score\nx,a,competition,9\n"


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
