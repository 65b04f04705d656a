import numpy as np
import pytest

from medssl.readers.extreme_values import limit_extremes, storage_step

DRAWS = np.random.default_rng(0)
HU = 0.5


def scan(noise: float = 0.3) -> np.ndarray:
    """HU from −1000 to 700 with a bone of 900."""
    x, y, z = np.indices((20, 18, 8))
    values = -1000 + 40 * x + 20 * y + 60 * z + DRAWS.normal(0, noise, x.shape)
    values[2:6, 3:5, 1:3] = 900
    return values.astype(np.float32)


@pytest.mark.parametrize("extreme", [1e5, 65535, 1e7, 1e30, 3.4e38, -3.4e38, -1e6, 2e5])
@pytest.mark.parametrize("count", [1, 10, 40])
def test_isolated_extremes_coarsen_nothing(extreme: float, count: int) -> None:
    values = scan()
    ordinary = values.copy()
    values.flat[DRAWS.choice(values.size, count, replace=False)] = extreme
    limited, (note,) = limit_extremes(values, HU)
    kept = values != np.float32(extreme)
    np.testing.assert_array_equal(limited[kept], ordinary[kept])
    assert np.all(limited[~kept] == (ordinary[kept].max() if extreme > 0 else ordinary[kept].min()))
    assert storage_step(float(limited.max()) - float(limited.min())) <= HU
    assert note.startswith(f"{count} value")
    assert f"{extreme:.5g} limited" in note


def test_padding_is_limited_however_much_there_is() -> None:
    values = scan()
    values[:9] = -3.4e38
    values[9, 9, 4] = 1e9
    limited, (note,) = limit_extremes(values, HU)
    assert note.startswith(f"{9 * 18 * 8 + 1} values")
    np.testing.assert_array_equal(limited[10:], values[10:])
    assert limited.min() == values[9:].min()


@pytest.mark.parametrize("extreme", [None, 3071, 30000, -20000])
def test_what_is_stored_finely_stays(extreme: float | None) -> None:
    """Metal is real."""
    for values in (scan(), np.rint(scan())):
        if extreme is not None:
            values[3, 3, 3] = extreme
        limited, notes = limit_extremes(values, HU)
        assert limited is values
        assert notes == ()


def test_whole_numbers_of_every_size_stay_without_a_note() -> None:
    values = DRAWS.integers(0, 65536, (40, 40, 40)).astype(np.float32)
    values[:30] = DRAWS.integers(0, 300, (30, 40, 40))
    assert limit_extremes(values, HU) == (values, ())


@pytest.mark.parametrize(("scale", "shift"), [(1, 0), (1e-6, 0), (255, 0), (1e4, -5e3), (2, 300)])
def test_images_in_other_units_keep_a_thousandth_of_their_range(scale: float, shift: float) -> None:
    values = (DRAWS.random((60, 50)) * scale + shift).astype(np.float32)
    assert limit_extremes(values)[0] is values
    values[5, 5] = shift + 5e3 * scale
    limited, (note,) = limit_extremes(values)
    assert note.startswith("1 value of ")
    assert storage_step(float(np.ptp(limited))) <= scale / 1000
    values[5, 5] = limited[5, 5]
    np.testing.assert_array_equal(limited, values)


def test_a_long_tail_is_no_isolated_value() -> None:
    """As in PET: few voxels are hot, but with all values between."""
    values = DRAWS.exponential(1, (60, 60, 40)).astype(np.float32) ** 3
    assert values.max() > 20 * np.quantile(values, 0.99) / 3
    limited, _ = limit_extremes(values)
    assert limited is values


def test_a_range_that_is_too_wide_is_said() -> None:
    values = (DRAWS.random((40, 40, 40)) * 1e6).astype(np.float32)
    values[0] = DRAWS.normal(-900, 50, (40, 40))
    limited, (note,) = limit_extremes(values, HU)
    assert limited is values
    assert "are kept in steps of 16" in note


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_few_values_and_constant_images_stay(size: int) -> None:
    for values in (DRAWS.random(size).astype(np.float32), np.full(size, 7, np.float32)):
        limited, notes = limit_extremes(values)
        assert limited is values
        assert notes == ()
