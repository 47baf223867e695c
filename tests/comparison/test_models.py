"""Where models come from."""

import lightning as L
import pytest
import torch
import yaml
from torch import nn

from lightning_xai import Comparison
from lightning_xai.comparison.models import loaded_model, models_by_name
from tests.comparison._made import AsIs, Counted, TopLeft, marked_images


class Module(L.LightningModule):
    """A classifier with an argument, and a part that a config describes by its class."""

    def __init__(self, num_classes: int, net: nn.Module | None = None):
        super().__init__()
        self.net = net or nn.Linear(4, num_classes)

    def forward(self, x):
        return self.net(x.flatten(1))


def checkpoint(folder, module, name="a.ckpt"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    trainer = L.Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu")
    trainer.strategy.connect(module)
    trainer.save_checkpoint(path, weights_only=True)
    return path


def run_folder(tmp_path, model, names=("a.ckpt",)):
    """What a LightningCLI leaves behind."""
    module = Module(3)
    for name in names:
        checkpoint(tmp_path / "version_0" / "checkpoints", module, name)
    (tmp_path / "version_0" / "config.yaml").write_text(yaml.safe_dump({"seed_everything": 1, "model": model}))
    return tmp_path / "version_0", module


NAME = f"{__name__}.Module"


def same(found, module):
    return isinstance(found, Module) and torch.equal(found.net.weight, module.net.weight)


def test_a_checkpoint_of_a_command_lines_run(tmp_path):
    folder, module = run_folder(tmp_path, {"class_path": NAME, "init_args": {"num_classes": 3}})
    assert same(loaded_model(str(folder / "checkpoints" / "a.ckpt")), module)
    assert same(loaded_model(folder), module)
    assert list(models_by_name([folder])) == ["version_0"]
    assert list(models_by_name([folder / "checkpoints" / "a.ckpt"])) == ["a"]


def test_parts_of_a_config_are_made(tmp_path):
    net = {"class_path": "torch.nn.Linear", "init_args": {"in_features": 4, "out_features": 3}}
    folder, module = run_folder(tmp_path, {"class_path": NAME, "init_args": {"num_classes": 3, "net": net}})
    assert same(loaded_model(folder), module)


def test_a_command_line_of_one_class_says_only_its_arguments(tmp_path):
    folder, module = run_folder(tmp_path, {"num_classes": 3})
    assert same(loaded_model(f"{NAME}@{folder}"), module)
    with pytest.raises(ValueError, match=r"^Expected '.*' to say of which class it is: no config.yaml"):
        loaded_model(folder)


def test_of_several_checkpoints_the_last(tmp_path):
    model = {"class_path": NAME, "init_args": {"num_classes": 3}}
    folder, module = run_folder(tmp_path, model, ("a.ckpt", "last.ckpt"))
    assert same(loaded_model(folder), module)
    (folder / "checkpoints" / "last.ckpt").rename(folder / "checkpoints" / "b.ckpt")
    with pytest.raises(ValueError, match=r"^Expected one checkpoint, or one `last.ckpt`, below .*checkpoints.b.ckpt"):
        loaded_model(folder)


def training(folder, moments):
    """Checkpoints of a run by name, (epoch, step) each, whose first weight is the step."""
    for name, (epoch, step) in moments.items():
        module = Module(3)
        module.net.weight.data.fill_(step)
        path = checkpoint(folder / "checkpoints", module, name)
        torch.save({**torch.load(path, weights_only=False), "epoch": epoch, "global_step": step}, path)
    config = {"model": {"class_path": NAME, "init_args": {"num_classes": 3}}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def steps(named):
    return {name: loaded_model(source).net.weight[0, 0].item() for name, source in named.items()}


class TestAllOfATraining:
    def test_in_its_order_by_epoch(self, tmp_path):
        moments = {"epoch=10": (10, 110), "epoch=2": (2, 30), "best": (0, 10), "last": (10, 110)}
        folder = training(tmp_path / "version_0", {f"{name}.ckpt": moment for name, moment in moments.items()})
        pattern = str(folder / "checkpoints" / "*.ckpt")
        found = models_by_name(pattern)
        assert steps(found) == {"epoch_0": 10.0, "epoch_2": 30.0, "epoch_10": 110.0}
        assert found["epoch_10"].endswith("epoch=10.ckpt")
        assert list(found) == list(models_by_name([f"{NAME}@{pattern}"])) == ["epoch_0", "epoch_2", "epoch_10"]
        named = models_by_name({"run": pattern, "other": Counted()})
        assert list(named) == ["run/epoch_0", "run/epoch_2", "run/epoch_10", "other"]
        table = Comparison(pattern, {"d": marked_images()}, {"a": AsIs()}, TopLeft(), "predicted").run()
        assert [setting.model for setting in table.settings] == ["epoch_0", "epoch_2", "epoch_10"]
        assert list(dict.fromkeys(row["model"] for row in table.mean())) == ["epoch_0", "epoch_2", "epoch_10"]
        assert not table.failures

    def test_several_in_an_epoch_and_several_runs(self, tmp_path):
        training(tmp_path / "version_0", {"a.ckpt": (0, 5), "b.ckpt": (0, 10), "c.ckpt": (1, 15)})
        training(tmp_path / "version_1", {"a.ckpt": (0, 7)})
        every = {
            "version_0/epoch_0_step_5": 5.0,
            "version_0/epoch_0_step_10": 10.0,
            "version_0/epoch_1": 15.0,
            "version_1/epoch_0": 7.0,
        }
        assert steps(models_by_name(str(tmp_path / "version_*" / "checkpoints" / "*.ckpt"))) == every
        each = [str(tmp_path / f"version_{run}" / "**" / "*.ckpt") for run in (0, 1)]
        assert steps(models_by_name(each)) == every

    def test_none(self, tmp_path):
        with pytest.raises(ValueError, match=r"^Expected checkpoints \(.ckpt\) at .*, but there are none"):
            models_by_name(str(tmp_path / "*.ckpt"))


def test_names_and_paths():
    resnet = loaded_model("torchvision/resnet18/none")
    assert type(resnet).__name__ == type(loaded_model("resnet18/none")).__name__ == "ResNet"
    assert type(loaded_model("timm/resnet18/none")).__module__.startswith("timm.")
    assert isinstance(loaded_model("tests.comparison._made.Counted"), Counted)
    assert isinstance(loaded_model("tests.comparison._made:Counted"), Counted)
    assert isinstance(loaded_model(Counted), Counted)
    assert list(
        models_by_name(["timm/resnet18/none", "resnet34", "tests.comparison._made:Counted", Counted(), nn.Flatten()])
    ) == [
        "resnet18",
        "resnet34",
        "Counted",
        "counted",
        "flatten",
    ]


@pytest.mark.parametrize(
    ("source", "error", "text"),
    [
        ("resnet81", ValueError, "Did you mean 'resnet18'"),
        ("torchvision/resnet81", ValueError, "Did you mean 'resnet18'"),
        ("no_such.module.Net", ValueError, "^Expected 'no_such.module.Net' to be the path of something"),
        ("torch.nn.Nothing", ValueError, "^Expected 'torch.nn.Nothing' to be the path of something"),
        (dict, TypeError, "to return a torch.nn.Module, but got dict"),
    ],
    ids=str,
)
def test_what_is_no_model(source, error, text):
    with pytest.raises(error, match=text):
        loaded_model(source)


def test_two_models_by_words_and_one_that_is_gone(tmp_path):
    models = ["tests.comparison._made.Counted", str(tmp_path / "gone.ckpt")]
    table = Comparison(models, marked_images(), {"a": AsIs()}, TopLeft()).run()
    assert {failure.cell.setting.model for failure in table.errors} == {"gone"}
    assert len(table.mean()) == 4
