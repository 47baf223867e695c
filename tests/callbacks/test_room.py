"""Images per forward in a run: halved and tried again where memory is short, chosen once where a GPU has room."""

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_xai import Readout
from lightning_xai.callbacks.run import run_state
from lightning_xai.callbacks.steps import room
from lightning_xai.metrics import InsertionDeletion
from tests.callbacks._runs import Net, differing, loader, monitor, train

SIZES = []
COUNTED = ("xai/seconds",)


@pytest.fixture(autouse=True)
def _fresh(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    SIZES.clear()
    monkeypatch.setattr(run_state, "cheapest_on_cpu", lambda _: 8)  # as a validation batch has on a GPU


class Roomy(Net):
    """Notes how many images go through it together in evaluation, and whether with gradients."""

    most_with_gradients = most_without = 1000

    def forward(self, images):
        if not self.training:
            with_gradients = torch.is_grad_enabled()
            SIZES.append((len(images), with_gradients))
            if len(images) > (self.most_with_gradients if with_gradients else self.most_without):
                raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(images)


class ShortOfGradients(Roomy):
    most_with_gradients = 3


class ShortOfAll(Roomy):
    most_with_gradients = most_without = 4


def short(make, **settings):
    ours = monitor("saliency", [InsertionDeletion(4)], num_images=8, on_error="raise", **settings)
    return ours, train([ours], make, val_loader=loader(8, seed=1), max_epochs=2, num_sanity_val_steps=0)


def scores(ours):
    return [{key: value for key, value in row.items() if key not in COUNTED} for row in ours.history]


def test_what_needs_gradients_is_tried_again_with_fewer():
    usual, plain = short(Roomy)
    SIZES.clear()
    with pytest.warns(UserWarning, match="no room for 8 images at a time") as caught:
        ours, run = short(ShortOfGradients)
    assert sum("no room" in str(one.message) for one in caught) == 2  # 8, 4, and the second epoch begins with 2
    assert ours._runs["fit"].most_that_fit == 2
    for row, wanted in zip(scores(ours), scores(usual), strict=True):
        assert row == pytest.approx(wanted, abs=1e-5)
    assert differing(run.state(), plain.state()) == []


def test_what_the_readout_says_is_halved_once():
    with pytest.warns(UserWarning, match="no room for 6 images at a time") as caught:
        ours, _ = short(ShortOfAll, readout=Readout(chunk_size=6))
    assert sum("no room" in str(one.message) for one in caught) == 1
    assert ours._runs["fit"].most_that_fit == 3
    assert len(ours.history) == 2


def test_sharded_parameters_are_not_tried_again(monkeypatch):
    monkeypatch.setattr(room, "is_sharded", lambda _: True)
    with pytest.raises(torch.OutOfMemoryError, match=r"sharded or another rank failed: set Readout\(chunk_size=4\)"):
        short(ShortOfGradients)
    assert [size for size, gradients in SIZES if gradients] == [1, 8]


def test_it_stays_in_checkpoints(tmp_path):
    saving = ModelCheckpoint(tmp_path, filename="saved")
    ours = monitor("saliency", [InsertionDeletion(4)], num_images=8)
    with pytest.warns(UserWarning, match="no room for 8"):
        train([ours, saving], ShortOfAll, val_loader=loader(8, seed=1), num_sanity_val_steps=0)
    again = monitor("saliency", [InsertionDeletion(4)], num_images=8, on_error="raise")
    SIZES.clear()
    settings = {"max_epochs": 3, "ckpt_path": tmp_path / "saved.ckpt", "num_sanity_val_steps": 0}
    train([again], ShortOfAll, val_loader=loader(8, seed=1), **settings)
    assert max(SIZES)[0] == again._runs["fit"].most_that_fit == 4


class TestChoice:
    """A GPU is played: its room is set, and what is cheapest."""

    @pytest.fixture(autouse=True)
    def _a_gpu(self, monkeypatch):
        self.asked = []

        def cheapest(classifier, image, space):
            self.asked.append((classifier.chunk_size, tuple(image.shape), space))
            return 32

        for module in (room, run_state):
            monkeypatch.setattr(module, "proven_room", lambda _: 10**6)
        monkeypatch.setattr(room, "cheapest_size", cheapest)

    def test_once_and_for_forwards_without_gradients(self, tmp_path, caplog):
        saving = ModelCheckpoint(tmp_path, filename="saved")
        ours = monitor("saliency", [InsertionDeletion(4)], num_images=8)
        with caplog.at_level("INFO"):
            train([ours, saving], Roomy, val_loader=loader(8, seed=1))
        assert self.asked == [(8, (1, 1, 8, 8), 10**6)]
        assert max(size for size, gradients in SIZES if not gradients) == 32
        assert max(size for size, gradients in SIZES if gradients) == 8
        assert caplog.text.count("sends 32 images through the model together") == 1
        again = monitor("saliency", [InsertionDeletion(4)], num_images=8)
        train([again], Roomy, val_loader=loader(8, seed=1), max_epochs=3, ckpt_path=tmp_path / "saved.ckpt")
        assert len(self.asked) == 1
        assert again._runs["fit"].grown == 32

    def test_values_and_evaluations_are_the_same(self, monkeypatch):
        ours, run = short(Roomy)
        monkeypatch.setattr(room, "proven_room", lambda _: None)
        usual, plain = short(Roomy)
        for row, wanted in zip(scores(ours), scores(usual), strict=True):
            assert row == pytest.approx(wanted, abs=1e-5)
        assert differing(run.state(), plain.state()) == []

    def test_not_where_the_readout_says_it_or_parameters_are_sharded(self, monkeypatch):
        short(Roomy, readout=Readout(chunk_size=5))
        assert max(size for size, _ in SIZES) == 5
        monkeypatch.setattr(room, "is_sharded", lambda _: True)
        short(Roomy)
        assert self.asked == []

    def test_an_error_costs_no_values(self, monkeypatch):
        def fails(*_):
            raise torch.OutOfMemoryError("CUDA out of memory")

        monkeypatch.setattr(room, "cheapest_size", fails)
        ours, _ = short(Roomy)
        assert len(ours.history) == 2
        assert ours._runs["fit"].grown == 8

    def test_it_is_given_up_before_the_usual_size_is_halved(self):
        failed = []

        class Crowded(Roomy):
            def forward(self, images):
                if torch.is_grad_enabled() and not self.training and len(images) == 8 and not failed:
                    failed.append(True)
                    raise torch.OutOfMemoryError("CUDA out of memory")
                return super().forward(images)

        with pytest.warns(UserWarning, match="no room for 32 images at a time.*from now on 8 go"):
            ours, _ = short(Crowded)
        assert ours._runs["fit"].most_that_fit == 8
        assert max(size for size, _ in SIZES) == 8
