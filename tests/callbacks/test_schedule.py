from __future__ import annotations

import pytest

from lightning_xai.callbacks.run_state import is_due


def explained(every_n_epochs, validations, start=None):
    """Epochs that are explained of those in which a fit validates; it may resume after epoch ``start``."""
    last, first, found = start, True, []
    for epoch in validations:
        if is_due(epoch, every_n_epochs, last, first=first):
            found.append(epoch)
            last = epoch
        first = False
    return found


@pytest.mark.parametrize(
    ("every_n_epochs", "validations", "expected"),
    [
        (1, range(4), [0, 1, 2, 3]),
        (3, range(9), [0, 2, 5, 8]),  # the first validation, then with ModelCheckpoint(every_n_epochs=3)
        (2, [1, 3, 5, 7], [1, 3, 5, 7]),  # check_val_every_n_epoch=2
        (2, [2, 5, 8, 11], [2, 5, 8, 11]),  # =3: multiples of 2 alone would leave every second one out
        (4, [2, 5, 8, 11], [2, 8, 11]),
        (5, [1, 3, 5, 7, 9, 11, 13], [1, 7, 9]),
        (1, [0, 0, 1, 1], [0, 0, 1, 1]),  # val_check_interval=0.5
        (2, [0, 0, 1, 1, 2, 2], [0, 1, 1]),
    ],
)
def test_epochs_that_are_explained(every_n_epochs, validations, expected):
    assert explained(every_n_epochs, validations) == expected


def test_a_resumed_fit_explains_its_first_validation():
    assert explained(4, [5, 6, 7, 8], start=4) == [5, 7]
