"""The progress bar of explanations that take long enough to wonder."""

import io
from contextlib import contextmanager, redirect_stderr

import pytest
import torch

from lightning_xai import Classifier, Explainer, GradCAM
from lightning_xai.model import progress
from lightning_xai.model.progress import evaluations_shown
from tests._nets import ConvNet

IMAGES = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Patient(Explainer):
    """Evaluates each image five times."""

    evaluations = 5

    def explain(self, classifier, images, target):
        for _ in range(5):
            classifier.logits(images)
        return images[:, 0]


@contextmanager
def terminal(monkeypatch, quiet_seconds=0.0):
    monkeypatch.setattr(progress, "QUIET_SECONDS", quiet_seconds)
    with redirect_stderr(Terminal()) as screen:
        yield screen


def test_a_bar_with_title_and_total_is_shown_and_taken_away(monkeypatch):
    with terminal(monkeypatch) as screen:
        Patient()(Classifier(ConvNet(), chunk_size=2), IMAGES, 0)
    assert "Patient" in screen.getvalue()
    assert "/30 " in screen.getvalue()
    assert screen.getvalue().endswith("\r")


def test_an_unknown_total_is_left_out(monkeypatch):
    classifier = Classifier(ConvNet(), chunk_size=2)
    with terminal(monkeypatch) as screen, evaluations_shown(classifier, "Counting", None):
        classifier.logits(IMAGES)
    assert "Counting: 2img" in screen.getvalue()


def test_nothing_is_shown_before_two_seconds(monkeypatch):
    assert progress.QUIET_SECONDS == 2.0
    with terminal(monkeypatch, quiet_seconds=2.0) as screen:
        Patient()(ConvNet(), IMAGES, 0)
    assert screen.getvalue() == ""


def test_nothing_is_shown_where_there_is_no_terminal(monkeypatch, capsys):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    Patient()(ConvNet(), IMAGES, 0)
    assert capsys.readouterr() == ("", "")


def test_who_watches_already_is_told_instead(monkeypatch):
    seen = []
    classifier = Classifier(ConvNet(), chunk_size=4, on_evaluated=seen.append)
    with terminal(monkeypatch) as screen:
        Patient()(classifier, IMAGES, 0)
    assert sum(seen) == 30
    assert screen.getvalue() == ""
    assert classifier.on_evaluated == seen.append


def test_the_classifier_is_left_as_it_was_also_by_an_error(monkeypatch):
    class Failing(Explainer):
        def explain(self, classifier, images, target):
            classifier.logits(images)
            raise ArithmeticError

    classifier = Classifier(ConvNet(), chunk_size=4)
    with terminal(monkeypatch) as screen, pytest.raises(ArithmeticError):
        Failing()(classifier, IMAGES, 0)
    assert classifier.on_evaluated is None
    assert screen.getvalue().endswith("\r")


def test_a_single_forward_shows_none_and_two_do(monkeypatch):
    with terminal(monkeypatch) as screen:
        GradCAM("features")(Classifier(ConvNet(), chunk_size=6), IMAGES, 0)
    assert screen.getvalue() == ""
    with terminal(monkeypatch) as screen:
        GradCAM("features")(Classifier(ConvNet(), chunk_size=5), IMAGES, 0)
    assert "GradCAM: " in screen.getvalue()
