"""How much explaining a share of a run's time affords: by images first, then by intervals."""

import itertools

import pytest

from lightning_xai.probing.decisions.effort import LEAST_IMAGES, Effort, afforded


def share(num_images, interval, sizes, per_image, per_unit, beside=0.0):
    """Share of the time that explaining takes of one interval."""
    spent = per_image * (beside + sum(min(num_images, size) for size in sizes))
    return spent / (spent + interval * per_unit)


@pytest.mark.parametrize("sizes", [[32], [5], [8], [32, 20], [32, 3], [100, 100]])
@pytest.mark.parametrize("interval", [1, 3, 2.5])
@pytest.mark.parametrize("per_image", [0.001, 0.03, 0.2, 1.7, 40.0])
def test_it_is_the_most_that_fits(sizes, interval, per_image):
    for per_unit, most, beside in itertools.product((0.5, 7.0, 60.0), (0.01, 0.05, 0.3, 0.9), (0.0, 2.5)):
        settings = {"seconds_per_unit": per_unit, "interval": interval, "max_overhead": most, "beside": beside}
        found, longer = afforded(per_image, sizes, **settings)
        least, all_images = min(LEAST_IMAGES, max(sizes)), max(sizes)
        # by trying everything
        of_times = (sizes, per_image, per_unit, beside)
        fitting = [n for n in range(least, all_images + 1) if share(n, interval, *of_times) <= most]
        if fitting:
            assert (found, longer) == (fitting[-1], None)
        else:
            tried = (n for n in itertools.count(1) if share(least, n, *of_times) <= most)
            assert (found, longer) == (least, next(tried))
            assert longer > interval


def test_what_costs_nothing_fits():
    assert afforded(0.0, [32], seconds_per_unit=0.0, interval=1, max_overhead=0.05) == (32, None)


def test_settings_as_they_are_written():
    assert str(Effort(12, 3)) == "num_images=12, every_n_epochs=3"
    assert str(Effort(12, 1, 500)) == "num_images=12, every_n_steps=500"
