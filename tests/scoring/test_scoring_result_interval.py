import numpy as np
import pyarrow as pa
import pytest
from shapely.geometry import box

from ki67.scoring import CarriedOver, ModelDeviation, score_section

NOTHING_LOST = {"pen": 0.0, "fold": 0.0, "focus": 0.0}


def table(cells=3000, share=0.2, seed=1):
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "x_um": rng.uniform(0, 2000, cells),
            "y_um": rng.uniform(0, 2000, cells),
            "label": np.where(rng.random(cells) < share, "positive", "negative"),
            "region_id": ["a"] * cells,
            "in_region": np.ones(cells, bool),
            "excluded": [""] * cells,
            "dab_od_mean": np.linspace(0.1, 1.0, cells),
        }
    )


def score(cells=None, **changes):
    return score_section(cells or table(), box(0, 0, 2000, 2000), 4.0, area_lost_mm2=NOTHING_LOST, **changes)


def test_the_interval_adds_up_counting_registration_and_the_model():
    carried = CarriedOver((17.0, 23.0), 0.0, 50.0)
    deviation = ModelDeviation(0.0, 0.25, 0.5, 50)
    plain, moved, doubted = score(), score(carried=carried), score(carried=carried, deviation=deviation)
    widths = [np.diff(one.ci95_percent)[0] for one in (plain, moved, doubted)]
    assert widths == sorted(widths)
    assert plain.ci95_percent == pytest.approx(plain.intervals.clustered, abs=0.1)
    assert doubted.intervals.model[0] < 17 < 23 < doubted.intervals.model[1]
    assert plain.intervals.model is None
    assert plain.index_corrected_percent is None


def test_the_index_stays_the_plain_count_and_the_corrected_one_stands_beside_it():
    found = score(deviation=ModelDeviation(0.3, 0.1, 0.5, 50))
    assert found.index_percent == score().index_percent
    assert found.index_corrected_percent < found.index_percent
    low, high = found.ci95_percent
    assert low < found.index_corrected_percent < high


def test_a_cut_off_within_the_combined_interval_is_equivocal():
    sure, doubted = score(table(share=0.17)), score(table(share=0.17), deviation=ModelDeviation(0.0, 0.4, 0.5, 50))
    at_20 = [{row.id: row.equivocal for row in one.cut_offs if 20.0 in row.values_percent} for one in (sure, doubted)]
    assert at_20[0]
    assert not any(at_20[0].values())
    assert all(at_20[1].values())


def test_fewer_cells_are_told():
    assert [row.cells for row in score().fewer_cells] == [100, 200, 500, 1000, 2000]


def test_an_outline_that_may_be_too_wide_widens_the_interval_on_its_side():
    plain, doubted = (
        score(carried=CarriedOver(None, 0.0, 50.0)),
        score(carried=CarriedOver(None, 0.0, 50.0, (20, 26))),
    )
    assert doubted.intervals.outline == (20, 26)
    assert doubted.ci95_percent[1] > max(plain.ci95_percent[1], 26)
    assert doubted.ci95_percent[0] == pytest.approx(plain.ci95_percent[0], abs=0.2)
    assert plain.intervals.outline is None
