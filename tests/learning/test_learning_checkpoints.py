"""Checkpoints appear whole or not at all, and a disk that takes no more is told as such."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from ki67.errors import DataSetError, WriteError

torch = pytest.importorskip("torch")


@pytest.fixture
def little_space() -> Iterator[None]:
    """Let no file grow beyond 50 kB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    from ki67.learning.checkpoints import load_checkpoint, save_checkpoint

    save_checkpoint(tmp_path / "c.pt", {"weights": torch.arange(5.0), "step": 3})

    stored = load_checkpoint(tmp_path / "c.pt", ("weights", "step"))
    assert stored["weights"].tolist() == [0, 1, 2, 3, 4]
    assert stored["step"] == 3


def test_what_does_not_fit_on_the_disk_leaves_the_last_checkpoint(tmp_path: Path, little_space: None) -> None:
    from ki67.learning.checkpoints import load_checkpoint, save_checkpoint

    path = tmp_path / "c.pt"
    save_checkpoint(path, {"step": 1})

    with pytest.raises(WriteError, match="too large"):
        save_checkpoint(path, {"step": 2, "weights": torch.zeros(100_000)})

    assert load_checkpoint(path, ("step",))["step"] == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("stored", [7, [1, 2], {"weights": "x"}, None])
def test_what_is_no_checkpoint_is_told_as_such(tmp_path: Path, stored: object) -> None:
    from ki67.learning.checkpoints import load_checkpoint

    path = tmp_path / "c.pt"
    torch.save(stored, path)
    with pytest.raises(DataSetError, match=r"c\.pt: (is damaged|lacks)"):
        load_checkpoint(path, ("step",))


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    from ki67.learning.checkpoints import load_checkpoint

    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    path = tmp_path / "c.pt"
    torch.save({"step": Trap()}, path)
    with pytest.raises(DataSetError, match="is damaged"):
        load_checkpoint(path, ("step",))
    assert not (tmp_path / "sprung").exists()


def test_weights_of_another_shape_are_told_of_the_checkpoint(tmp_path: Path) -> None:
    from ki67.learning.checkpoints import refuse_another, restoring

    with pytest.raises(DataSetError, match=r"c\.pt: is damaged .*size mismatch"), restoring(tmp_path / "c.pt"):
        torch.nn.Linear(2, 2).load_state_dict({"weight": torch.zeros(3, 3), "bias": torch.zeros(2)})
    with pytest.raises(DataSetError, match=r"c\.pt: is damaged"):
        refuse_another(tmp_path / "c.pt", {"inputs": 3, "options": {}}, {"fields": "00"}, {})
