import pickle

import pytest

from lightning_xai import Readout


def test_settings_pickle_and_compare():
    readout = Readout("multilabel", "out", forward="net", chunk_size=8)
    assert pickle.loads(pickle.dumps(readout)) == readout != Readout()
    assert Readout() == Readout("auto", None, None, None)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"task": "multi_class"}, ValueError, "Expected `task` to be one of 'auto', .* Did you mean 'multiclass'"),
        ({"chunk_size": 0}, ValueError, "Expected `chunk_size` to be >= 1, but got 0"),
        ({"chunk_size": 2.0}, TypeError, "Expected `chunk_size` to be a whole number, but got float"),
    ],
)
def test_errors(settings, error, message):
    with pytest.raises(error, match=message):
        Readout(**settings)
