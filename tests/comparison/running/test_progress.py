"""A bar goes by the size of what is done, so that the time that is left is about right."""

import pytest
import tqdm.auto

from lightning_xai.comparison.running.progress import cells_shown
from tests.comparison._run import heavy


class Bar:
    """What is told to the bar; the last one that was made."""

    last = None

    def __init__(self, total, **settings):
        self.total, self.settings, self.done, self.texts = total, settings, 0, []
        Bar.last = self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def set_description_str(self, text, refresh):
        self.texts.append(text)

    def set_postfix_str(self, text, refresh):
        self.texts[-1] += f" {text}"

    def update(self, size):
        self.done += size


def test_shares_of_cells_count_by_their_size(monkeypatch):
    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    with cells_shown({"large": 300, "small": 100}, 5, show=True) as told:
        told("large", 0.25)
        assert Bar.last.done == 75
        told("small", 1.0)
        told("large", 0.25)  # seen again
        told("large", 1.0)
    assert Bar.last.done == Bar.last.total == 400
    assert "{remaining}" in Bar.last.settings["bar_format"]
    assert Bar.last.texts == ["3/5 cells large", "4/5 cells small", "4/5 cells large", "5/5 cells large"]


def test_what_is_finished_before_is_not_in_the_time(tmp_path, monkeypatch):
    heavy(tmp_path, ["average_drop"]).run()
    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    for split in (1, 10**6):
        compared = heavy(tmp_path, ["average_drop", "insertion_auc"], split=split)
        compared.progress = True
        compared.run()
        assert Bar.last.done == pytest.approx(Bar.last.total)
        assert (Bar.last.total > 0) is (split == 1)  # then everything is finished
