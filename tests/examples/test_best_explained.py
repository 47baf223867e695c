import re

from lightning_xai.probing import ExplainedEpoch


def test_every_rule_says_its_epoch_and_what_it_is_worth(example, tmp_path):
    printed = example(
        "best_explained", "--epochs", "3", "--num-images", "32", "--num-explained", "4", "--seeds", "0", "1"
    )
    kept = {seed: sorted((tmp_path / "best_explained" / str(seed)).glob("*.ckpt")) for seed in (0, 1)}
    for seed in (0, 1):
        (row,) = re.findall(rf"│ +{seed} │ ExplanationCheckpoint +│ +(\d) │ +([\d.]+) │", printed)
        (reason,) = re.findall(rf"seed {seed}: epoch (\d), xai/faithfulness_gain .*, val_accuracy ([\d.]+):", printed)
        assert row[0] == reason[0]
        assert float(row[1]) == round(float(reason[1]), 3)
        assert any(path.name.startswith(f"epoch={row[0]}-") for path in kept[seed])
        assert re.search(rf"│ +{seed} │ the last epoch +│ +2 │", printed)


def test_what_lightnings_own_early_stopping_would_do(monkeypatch):
    from pathlib import Path

    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "examples")
    from best_explained import plain

    from lightning_xai import Estimate

    class Told:
        def __init__(self, values):
            self.history = [
                ExplainedEpoch(epoch, epoch, "fit", {"xai/faithfulness": Estimate(value)})
                for epoch, value in enumerate(values)
            ]

    assert plain(Told([0.1, 0.3, 0.2, 0.2, 0.3])) == 4
    assert plain(Told([0.1, 0.3, 0.2, 0.2, 0.4, 0.3])) is None
