"""What a run does to make forwards cheaper: channels_last where the model reads it, bfloat16 where it is asked for."""

from contextlib import nullcontext

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_xai import ExplanationMonitor, Readout
from lightning_xai.callbacks.run import run_state
from lightning_xai.callbacks.steps import rehearsal
from lightning_xai.metrics import FaithfulnessSkill, InsertionDeletion, MaxSensitivity
from lightning_xai.reports import History, Scalars
from tests.callbacks._runs import Net, differing, loader, train

SEEN = []
SPENT = ("xai/seconds", "xai/model_evaluations")


class Colour(Net):
    """Reads three channels; notes layout and precision of every forward without gradients."""

    def __init__(self):
        super().__init__(dropout=0.5)
        self.net[0] = torch.nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, images):
        if not torch.is_grad_enabled():
            SEEN.append((images.is_contiguous(), torch.is_autocast_enabled("cpu")))
        return super().forward(images)


class ViewsItsInput(Colour):
    def forward(self, images):
        return super().forward(images.view(len(images), -1).view(images.shape))


class ViewsItsMaps(Colour):
    def forward(self, images):
        SEEN.append((images.is_contiguous(), False))
        maps = self.net(images)
        return self.head(
            self.dropout(maps.view(len(images), 4, -1).view(len(images), -1).view(maps.shape).mean((2, 3)))
        )


class OtherLogits(Colour):
    def forward(self, images):
        return super().forward(images) * (1.0 if images.is_contiguous() else 1.01)


@pytest.fixture(autouse=True)
def _fresh(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    SEEN.clear()


def coloured(image):
    return torch.cat([image, image.flip(-1), image.flip(-2)])


def monitor(**settings):
    metrics = [InsertionDeletion(4), FaithfulnessSkill(4), MaxSensitivity(num_samples=2)]
    return ExplanationMonitor(metrics=metrics, num_images=4, reports=(Scalars(), History()), **settings)


def run_of(*callbacks, make=Colour, **settings):
    given = {
        "train_loader": loader(change=coloured, shuffle=True),
        "val_loader": loader(10, seed=1, change=coloured),
        **settings,
    }
    return train(list(callbacks), make, **given)


def scores(ours):
    return [{key: value for key, value in row.items() if key not in SPENT} for row in ours.history]


def near(found, expected, tolerance):
    assert len(found) == len(expected) > 1
    for row, wanted in zip(found, expected, strict=True):
        assert row == pytest.approx(wanted, abs=tolerance, rel=tolerance, nan_ok=True)


def is_last(ours):
    return ours._runs["fit"].channels_last


class TestLayout:
    def test_values_evaluations_and_weights(self, monkeypatch):
        ours, usual = monitor(), monitor()
        run = run_of(ours)
        assert is_last(ours) is True
        assert sum(not contiguous for contiguous, _ in SEEN) >= 24  # two validations, forwards of the curves
        SEEN.clear()
        monkeypatch.setattr(rehearsal, "reads_channels_last", lambda *_: False)
        other = run_of(usual)
        assert is_last(usual) is False
        assert all(contiguous for contiguous, _ in SEEN)
        near(scores(ours), scores(usual), 1e-5)
        assert [row[SPENT[1]] for row in ours.history] == [row[SPENT[1]] for row in usual.history]
        plain = run_of()
        assert differing(run.state(), plain.state()) == differing(other.state(), plain.state()) == []

    @pytest.mark.parametrize("sanity", [0, 2])
    @pytest.mark.parametrize("make", [ViewsItsInput, ViewsItsMaps, OtherLogits])
    def test_a_model_that_reads_it_otherwise_works_as_before(self, make, sanity, monkeypatch):
        ours, usual = monitor(), monitor()
        run_of(ours, make=make, num_sanity_val_steps=sanity)
        assert is_last(ours) is False
        assert sum(not contiguous for contiguous, _ in SEEN) <= 1  # the trial
        monkeypatch.setattr(rehearsal, "reads_channels_last", lambda *_: False)
        run_of(usual, make=make, num_sanity_val_steps=sanity)
        near(scores(ours), scores(usual), 0.0)

    def test_one_loader_that_cannot_is_enough(self, monkeypatch):
        answers = iter([True, False])
        monkeypatch.setattr(rehearsal, "reads_channels_last", lambda *_: next(answers))
        ours = monitor()
        run_of(ours, val_loader=[loader(10, seed=seed, change=coloured) for seed in (1, 2)], max_epochs=1)
        assert is_last(ours) is False

    def test_sixteen_bits_differ_too_much_or_not_at_all(self):
        ours = monitor()
        run_of(ours, precision="bf16-mixed", max_epochs=1)
        assert len(ours.history) == 1

    @pytest.mark.parametrize("first", [Colour, ViewsItsInput])
    def test_a_resumed_run_keeps_it(self, first, tmp_path):
        saving, ours, again = ModelCheckpoint(tmp_path, filename="saved"), monitor(), monitor()
        run_of(ours, saving, make=first)
        SEEN.clear()
        run_of(again, max_epochs=3, ckpt_path=tmp_path / "saved.ckpt")
        assert is_last(again) is is_last(ours) is (first is Colour)
        if first is ViewsItsInput:
            assert all(contiguous for contiguous, _ in SEEN)
        assert len(again.history) == 3

    def test_a_resumed_run_tries_it_again(self, tmp_path):
        saving = ModelCheckpoint(tmp_path, filename="saved")
        run_of(monitor(), saving)
        again = monitor()
        run_of(again, make=ViewsItsInput, max_epochs=3, ckpt_path=tmp_path / "saved.ckpt")
        assert is_last(again) is False
        assert len(again.history) == 3


class TestPrecision:
    def test_values_weights_and_what_is_never_lowered(self):
        ours, usual = monitor(readout=Readout(precision="bf16")), monitor()
        run = run_of(ours)
        assert {autocast for _, autocast in SEEN} == {True, False}
        SEEN.clear()
        run_of(usual)
        assert not any(autocast for _, autocast in SEEN)
        exact = ("probe_accuracy", "probe_confidence", "max_sensitivity")
        for row, wanted in zip(scores(ours), scores(usual), strict=True):
            assert {key: row[f"xai/{key}"] for key in exact} == {key: wanted[f"xai/{key}"] for key in exact}
            assert row["xai/faithfulness"] != wanted["xai/faithfulness"]
            assert row["xai/faithfulness"] == pytest.approx(wanted["xai/faithfulness"], abs=0.01)
        spent = [[row[SPENT[1]] / 4 for row in one.history] for one in (ours, usual)]
        assert [one - other for one, other in zip(*spent, strict=True)] == [1.0, 1.0]  # the unchanged image
        assert differing(run.state(), run_of().state()) == []

    @pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
    def test_beside_a_precision_of_the_trainer(self, precision):
        """What runs in other than 32 bits already stays as it is, bit for bit."""
        found = []
        for readout in (Readout(precision="bf16"), Readout()):
            ours = monitor(readout=readout)
            run = run_of(ours, precision=precision)
            found.append((scores(ours), run.state()))
        near(found[0][0], found[1][0], 0.0)
        assert differing(found[0][1], found[1][1]) == []

    def test_a_model_that_cannot_raises_before_training(self):
        class Refuses(Colour):
            def forward(self, images):
                if torch.is_autocast_enabled("cpu"):
                    raise ValueError("no autocast here")
                return super().forward(images)

        with pytest.raises(ValueError, match="no autocast here"):
            run_of(monitor(readout=Readout(precision="bf16")), make=Refuses)
        with nullcontext():
            run_of(monitor(), make=Refuses)


def test_a_chunk_without_room_is_halved_and_the_next_epoch_begins_with_that(monkeypatch):
    monkeypatch.setattr(run_state, "cheapest_on_cpu", lambda _: 8)

    class Crowded(Colour):
        largest = ()

        def forward(self, images):
            if not torch.is_grad_enabled() and len(images) > 4:
                type(self).largest = (*type(self).largest, len(images))
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().forward(images)

    ours, usual = monitor(on_error="raise"), monitor()
    with pytest.warns(UserWarning, match="no room for 8 images"):
        run_of(ours, make=Crowded, num_sanity_val_steps=0)
    run_of(usual)
    near(scores(ours), scores(usual), 1e-5)
    assert ours._runs["fit"].most_that_fit == 4
    assert set(Crowded.largest) == {8}
    assert len(Crowded.largest) <= 2
