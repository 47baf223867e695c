"""What every comparison starts from: the peers are there, and nothing is drawn without a seed."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch

PEERS = ("captum", "pytorch_grad_cam", "quantus", "timm", "torchcam")

if missing := [name for name in PEERS if find_spec(name) is None]:
    raise pytest.UsageError(f"Expected the peers to be installed, but {', '.join(missing)} are not. Run `make parity`.")


def pytest_configure(config):
    # of peers: about what is asked on purpose, and about what NumPy will not do any more
    for warning in ("ignore:::quantus", "ignore:__array_wrap__ must accept:DeprecationWarning"):
        config.addinivalue_line("filterwarnings", warning)


@pytest.fixture(autouse=True)
def _seeded():
    np.random.seed(0)
    torch.manual_seed(0)
