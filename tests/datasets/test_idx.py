import gzip

import numpy as np
import pytest
import torch

from lightning_xai.datasets import read_idx
from tests._fashion import write_idx


@pytest.mark.parametrize("kind", ["u1", "i1", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "compressed"])
def test_every_type_and_shape(tmp_path, kind, pack):
    random = np.random.default_rng(0)
    low, high = (0, 256) if kind == "u1" else (-128, 128)
    for shape in [(5,), (2, 3), (4, 2, 3), (2, 1, 3, 2)]:
        values = (random.integers(low, high, shape) * (300 if kind[1] in "48" else 1)).astype(kind)
        found = read_idx(write_idx(tmp_path / "file", values, pack))
        assert found.dtype == torch.from_numpy(values).dtype
        assert torch.equal(found, torch.from_numpy(values))


def test_no_values(tmp_path):
    assert read_idx(write_idx(tmp_path / "file", np.zeros((0, 28, 28), np.uint8))).shape == (0, 28, 28)


@pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: content + b"\0"])
def test_a_file_in_part(tmp_path, change):
    path = write_idx(tmp_path / "file", np.zeros((2, 3), np.uint8), change)
    with pytest.raises(ValueError, match=r"to have 18 bytes, .* shape \(2, 3\), but got (17|19)"):
        read_idx(path)


@pytest.mark.parametrize(("content", "told"), [(b"", "nothing"), (b"PK\3\4zip", "50 4b 03 04"), (b"\0\0\7\1", "07 01")])
def test_another_format(tmp_path, content, told):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=f"to be an IDX file.* begins with .*{told}"):
        read_idx(tmp_path / "file")


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_idx(tmp_path / "nowhere")
