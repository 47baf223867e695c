import re


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


def test_the_rules_choose_what_the_callback_chose(monkeypatch, tmp_path):
    from pathlib import Path

    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "examples")
    from _shared.rules import explanation_checkpoint
    from best_explained import parse, trained

    settings = parse(["--epochs", "4", "--num-images", "64", "--num-explained", "4", "--output", str(tmp_path)])
    monitor, accuracies, keep = trained(settings, seed=1)
    (kept,) = (one.epoch for one in keep.kept if one.path == keep.best_model_path)
    choice = explanation_checkpoint(monitor.history, accuracies, num_validation=16)
    assert choice.best.epoch == kept
    assert {one.epoch for one in keep.kept} <= {one.epoch for one in choice.kept}
