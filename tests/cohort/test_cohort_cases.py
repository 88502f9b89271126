"""The table of a cohort: every line that makes no sense is told at once, and files are found from where it lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from ki67.cohort import Shard, read_cases
from ki67.errors import DataSetError, UsageError


def table(folder: Path, text: str | bytes) -> Path:
    path = folder / "cases.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_files_are_relative_to_the_table_or_absolute(tmp_path: Path) -> None:
    text = (
        "case,he,ki67,patient,regions,he_mpp,ki67_mpp\nA,s/he.svs,/data/ki67.svs,P1,r.geojson,0.25,0.5\nB,h,k,,,,\n"
    )
    first, second = read_cases(table(tmp_path, text))
    assert (first.name, first.patient) == ("A", "P1")
    assert (first.he, first.ki67) == (tmp_path / "s/he.svs", Path("/data/ki67.svs"))
    assert first.words[2:] == ["--regions", str(tmp_path / "r.geojson"), "--he-mpp", "0.25", "--ki67-mpp", "0.5"]
    assert second.words == [str(tmp_path / "h"), str(tmp_path / "k")]


def test_a_table_named_from_another_folder_gives_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table(tmp_path, "case,he,ki67\nA,-he.svs,k.svs\n")
    monkeypatch.chdir(tmp_path)
    (case,) = read_cases("cases.csv")
    assert case.he.is_absolute()
    assert case.words[0] == str(tmp_path / "-he.svs")  # not taken for an option


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbfcase,he,ki67,he_mpp\nA,h,k,0.25\n",
        b"case;he;ki67;he_mpp\r\nA;h;k;0,25\r\n;;;\r\n",
        b"\xef\xbb\xbfcase;he;ki67;he_mpp\nA;h;k;0.25\n",
        b"case,he,ki67,he_mpp,note\n\nA,h,k,0.25,x\n,,,,\n   ,,,,\n",
        b' case , he,ki67 ,he_mpp\n "A",h,k,0.25\n'.replace(b' "A"', b'"A"'),
    ],
    ids=["mark", "semicolons", "mark and semicolons", "empty lines", "blanks and quotes"],
)
def test_what_spreadsheets_write_is_read(tmp_path: Path, text: bytes) -> None:
    (case,) = read_cases(table(tmp_path, text))
    assert (case.name, case.he, case.he_mpp) == ("A", tmp_path / "h", 0.25)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("case,he\nA,h\n", "lacks the column 'ki67'"),
        ("case,he,ki67\n", "holds no case"),
        ("", "lacks the column 'case'"),
        ("case,he,ki67\nA,h,k\nA,h,k\n", "line 3 names the case 'A' again, after line 2"),
        ("case,he,ki67\nA,h,k\na,h,k\n", "line 3 names the case 'a' again"),
        ("case,he,ki67\nA,,k\n", "line 2 has no he"),
        ("case,he,ki67\n,h,k\n", "line 2 has no case"),
        ("case,he,ki67\na/b,h,k\n", "'a/b', which is no name of a folder"),
        ("case,he,ki67\na\\b,h,k\n", "no name of a folder"),
        ("case,he,ki67\n..,h,k\n", "no name of a folder"),
        ("case,he,ki67\nC:x,h,k\n", "no name of a folder"),
        ('case,he,ki67\n"a\tb",h,k\n', "no name of a folder"),
        (f"case,he,ki67\n{'x' * 151},h,k\n", "more than 150 bytes"),
        ("case,he,ki67,he_mpp\nA,h,k,0\n", "has the he_mpp '0', expected a number from 0.05 to 50"),
        ("case,he,ki67,he_mpp\nA,h,k,nan\n", "has the he_mpp 'nan'"),
        ("case,he,ki67\nA,h,k,m,n\n", "more values than the header"),
        ("case,he,ki67,he\nA,h,k,l\n", "has the column 'he' twice"),
        ("case,he,ki67\n" + "x/y,h,k\n" * 9, "and 4 more lines"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, text: str, found: str) -> None:
    with pytest.raises(DataSetError, match="Give a CSV file with the columns case, he, ki67") as caught:
        read_cases(table(tmp_path, text))
    assert found in str(caught.value)
    assert "\n" not in str(caught.value)


def test_shards_hold_every_case_once() -> None:
    cases = list(range(10))
    parts = [Shard.parse(f"{number}/3").of_cases(cases) for number in (1, 2, 3)]
    assert sorted(case for part in parts for case in part) == cases
    assert parts[0] == [0, 3, 6, 9]


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/0", "a/b", "-1/3", "1/3/5", "１/３"])
def test_a_shard_that_is_none_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match="expected i/n"):
        Shard.parse(text)
