"""Class names where data, DataModule and models of all kinds keep them."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset

from lightning_xai.reports.captions import class_names

NAMES = ("cat", "dog", "owl")


class Data(Dataset):
    """A data set with attributes."""

    def __init__(self, **attributes):
        vars(self).update(attributes)

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return torch.tensor(index)


class Unreadable(Data):
    """A data set whose attributes cannot be read."""

    @property
    def classes(self):
        raise OSError("not downloaded")

    dataset = datasets = features = classes


def label(names):
    """A class label as Hugging Face's ``datasets`` has it."""
    return SimpleNamespace(names=list(names))


def found(dataset=None, *, num_classes=3, stage="fit", model=None, datamodule=None, loader=0, loaders=None):
    loaders = DataLoader(dataset) if dataset is not None else loaders
    trainer = SimpleNamespace(
        val_dataloaders=None if stage == "test" else loaders,
        test_dataloaders=loaders if stage == "test" else None,
        datamodule=datamodule,
        lightning_module=model,
    )
    return class_names(trainer, stage, loader, num_classes)


def model_with(id2label):
    part = nn.Linear(1, 1)
    part.config = SimpleNamespace(id2label=id2label)
    return nn.Sequential(nn.ReLU(), part)


@pytest.mark.parametrize(
    "dataset",
    [
        Data(classes=list(NAMES)),
        Data(classes=NAMES),
        Data(class_names=list(NAMES)),
        Data(categories=list(NAMES)),
        Data(class_to_idx={"owl": 2, "cat": 0, "dog": 1}),
        Data(classes=[("cat", "house cat"), ("dog",), ("owl", "night bird")]),
        Data(classes={0: "cat", 1: "dog", 2: "owl"}),
        Data(classes=list(NAMES), class_to_idx={"owl": 2, "cat": 0, "dog": 1}),
        Data(features={"image": SimpleNamespace(), "label": label(NAMES)}),
        Data(features={"labels": SimpleNamespace(feature=label(NAMES))}),
        Subset(Data(classes=list(NAMES)), [0]),
        Subset(Subset(Data(classes=list(NAMES)), [0, 1]), [1]),
        ConcatDataset([Data(classes=list(NAMES)), Data(classes=list(NAMES))]),
        ConcatDataset([Subset(Data(class_to_idx={"owl": 2, "cat": 0, "dog": 1}), [0]), Data()]),
        Data(dataset=Data(features={"label": label(NAMES)})),
    ],
)
def test_data_sets(dataset):
    assert found(dataset) == NAMES


@pytest.mark.parametrize(
    "dataset",
    [
        Data(),
        Unreadable(),
        Data(classes=[0, 1, 2]),
        Data(classes="cat"),
        Data(classes=3),
        Data(class_to_idx={"cat": 1, "dog": 2, "owl": 3}),
        Data(class_to_idx={"cat": 0, "dog": 1, "kitten": 0}),
        Data(classes=[*NAMES, "background"]),
        ConcatDataset([Data(classes=["cat", "dog", "owl"]), Data(classes=["dog", "cat", "owl"])]),
        Data(classes=list(NAMES), class_to_idx={"owl": 0, "cat": 1, "dog": 2}),
    ],
)
def test_what_does_not_fit_or_contradicts_itself_names_nothing(dataset):
    assert found(dataset) is None


def test_a_data_set_inside_itself_ends():
    data = Data(classes=list(NAMES))
    data.dataset = data
    data.datasets = [data]
    assert found(data) == NAMES


def test_every_stage_and_loader_has_its_own():
    loaders = [DataLoader(Data(classes=["a", "b", "c"])), DataLoader(Data(classes=["d", "e", "f"]))]
    assert found(loaders=loaders, loader=1) == ("d", "e", "f")
    assert found(loaders=loaders, loader=0, stage="validate") == ("a", "b", "c")
    assert found(loaders={"x": loaders[1], "y": loaders[0]}, loader=1, stage="test") == ("a", "b", "c")
    assert found(loaders=loaders, loader=2) is None
    assert found() is None


def test_a_data_module_and_a_model_know_them_too():
    assert found(Data(), datamodule=SimpleNamespace(class_names=list(NAMES))) == NAMES
    assert found(Data(), model=model_with(dict(enumerate(NAMES)))) == NAMES
    assert found(Unreadable(), model=model_with(dict(enumerate(NAMES)))) == NAMES
    assert found(Data(), model=model_with({0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"})) is None


def test_data_come_first_unless_the_model_counts_otherwise():
    data = Data(classes=list(NAMES))
    assert found(data, model=model_with({0: "Katze", 1: "Hund", 2: "Eule"})) == NAMES
    assert found(data, model=model_with({0: "owl", 1: "dog", 2: "cat"})) is None
