"""In two and three processes the monitor leaves no trace, gives the values of one, and ranks agree on everything."""

import csv
import os
import pickle
import time

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_xai._randomness import content_keys
from lightning_xai.callbacks.run import runs
from lightning_xai.probing.decisions.effort import Effort
from lightning_xai.probing.processes import OneProcess, share_of
from lightning_xai.probing.validation import Accuracy
from tests.callbacks._runs import differing, loader, monitor, remembered, train
from tests.callbacks._two_processes import (
    IN_THREE,
    LOCALIZATION,
    VARIANTS,
    Drifting,
    Listening,
    decisions,
    drifting,
    failures_shown,
    findings,
    found_by,
    run,
    shortcut,
)

COUNTED = ("seconds", "model_evaluations")
THREE = ("probes_and_values", "agreement", "decisions", "findings")


def in_processes(factory, num_ranks, situations=()):
    """Return what each rank found; workers of pytest-xdist share one set of processes."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return run(factory.mktemp("processes"), num_ranks=num_ranks, situations=situations)
    folder = factory.getbasetemp().parent / f"{num_ranks}_processes"
    try:
        folder.mkdir()
    except FileExistsError:
        while not (folder / "end").exists():
            time.sleep(0.2)
    else:
        try:
            run(folder, num_ranks=num_ranks, situations=situations)
        finally:
            (folder / "end").touch()
    return found_by(folder, num_ranks)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What both ranks found."""
    return in_processes(tmp_path_factory, 2)


@pytest.fixture(scope="module")
def three_ranks(tmp_path_factory):
    """What three ranks found where the same numbers and decisions matter most."""
    return in_processes(tmp_path_factory, 3, THREE)


@pytest.fixture(autouse=True)
def _files_go_to_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def scores(values):
    return {key: value for key, value in values.items() if not key.endswith(COUNTED)}


def test_weights_are_the_same_on_both_ranks(ranks):
    for found in ranks:
        assert found["weights"]["differing"] == []
        assert found["weights"]["control"] != []


@pytest.mark.parametrize("name", VARIANTS)
def test_values_and_probe_are_those_of_one_process(name, ranks, three_ranks):
    variant = {k: v for k, v in VARIANTS[name].items() if k != "use_distributed_sampler"}
    expected = drifting(**variant)
    for rank in (*ranks, *(three_ranks if name in IN_THREE else ())):
        found = rank["probes_and_values"][name]
        assert found["probe"] == expected["probe"]
        assert len(found["rows"]) == len(expected["rows"]) == 2
        pairs = list(zip(found["rows"].values(), expected["rows"].values(), strict=True))
        for values, wanted in [*pairs, *((found[stage], expected[stage]) for stage in variant.get("stages", ()))]:
            assert scores(values) == pytest.approx(scores(wanted), abs=1e-5)


def test_nothing_is_missing(ranks):
    found = ranks[1]["probes_and_values"]["five_of_seven"]
    rows = list(found["rows"].values())
    for values in (*rows, found["validate"], found["test"]):
        assert values.keys() >= {"xai/grad_cam/faithfulness", "xai/layer_cam/faithfulness_gain", "xai/probe_accuracy"}
    assert ["xai/grad_cam/heatmap_drift" in values for values in rows] == [False, True]


def test_probe_depends_on_the_images_only(ranks):
    found = ranks[0]["probes_and_values"]
    probes = [found[name]["probe"] for name in ("five_of_seven", "small_batches", "shuffled", "every_rank_sees_all")]
    assert probes == [probes[0]] * 4
    assert len(set(probes[0])) == 5
    assert set(found["three_of_seven"]["probe"]) < set(probes[0])
    assert len(set(found["all_of_seven"]["probe"])) == 7


def test_masks_reach_the_metrics(ranks):
    for key in LOCALIZATION:
        assert f"xai/{key}" in ranks[1]["probes_and_values"]["masks"]["validate"]


def test_groups_are_merged(ranks):
    first, second = (rank["probes_and_values"]["groups"] for rank in ranks)
    assert first["probe"] == second["probe"]
    assert {identity[2] for identity in first["probe"]} == {"a", "b"}
    for values in (*first["rows"].values(), first["validate"]):
        assert values.keys() >= {f"xai/{one}/faithfulness_gain" for one in ("worst_class", "worst_group", "gap")}


def test_images_of_several_sizes_are_in_groups(ranks):
    groups = [rank["probes_and_values"]["several_sizes"]["groups"] for rank in ranks]
    assert groups[0] == groups[1]
    assert len(groups[0]) == 2
    assert any(len(group) % 2 for group in groups[0])  # some share is padded


@pytest.mark.parametrize("name", ["sizes", "one_image", "batches"])
def test_every_rank_makes_the_same_forwards(name, ranks):
    first, second = (found["forwards"][name] for found in ranks)
    if name == "batches":  # the ranks' own batches are 3 and 1, and the sanity check's 2 and 1
        assert first - (3 + 2) == second - (1 + 1) > 0
    else:
        assert len(first) == len(second) > 10
        assert sorted(first) == sorted(second)


class TestAnnotationsOnOneRank:
    """Keys are agreed on: no rank waits for a value that another does not have."""

    @pytest.mark.parametrize("name", ["both", "first", "second", "no_sanity_check", "error", "named"])
    def test_ranks_see_the_same_values(self, name, ranks):
        first, second = (found["annotations_on_one_rank"][name] for found in ranks)
        assert first == second
        assert first["rows"] == (1 if name == "error" else 2)
        for values in first["seen"]:
            assert values.keys() >= {"xai/pointing_game", "xai/undefined/pointing_game", "xai/faithfulness"}

    @pytest.mark.parametrize("name", ["first", "second", "no_sanity_check", "named"])
    def test_images_without_a_mask_are_undefined(self, name, ranks):
        found = ranks[0]["annotations_on_one_rank"]
        assert [values["xai/undefined/pointing_game"] for values in found[name]["seen"]] == [3.0, 3.0]
        assert [values["xai/undefined/pointing_game"] for values in found["both"]["seen"]] == [0.0, 0.0]

    def test_an_error_leaves_stand_ins_on_both(self, ranks):
        first, _ = ranks[1]["annotations_on_one_rank"]["error"]["seen"]
        assert (first["xai/pointing_game"], first["xai/undefined/pointing_game"]) == (0.0, 8.0)

    def test_without_annotations_there_are_no_such_keys(self, ranks):
        for rank in ranks:
            for values in rank["annotations_on_one_rank"]["none"]["seen"]:
                assert "xai/faithfulness" in values
                assert "xai/pointing_game" not in values


@pytest.mark.parametrize("fixture", ["ranks", "three_ranks"])
def test_monitors_agree(fixture, request):
    first, *others = (found["agreement"] for found in request.getfixturevalue(fixture))
    assert all(other == first for other in others)
    assert first["epochs"] < 8
    assert first["stopped"] == first["epochs"] - 1
    assert first["best"] in first["kept"]
    assert len(first["kept"]) == 2
    assert first["told"] == []


def test_the_failures_of_all_ranks_are_those_of_one_process(ranks, tmp_path):
    first, second = (found["failures_shown"] for found in ranks)
    expected = failures_shown(tmp_path)
    assert second == []  # reports work on rank zero
    assert len(first) == len(expected) == 3
    for of_epoch, wanted in zip(first, expected, strict=True):
        assert [one[:2] for one in of_epoch] == [one[:2] for one in wanted]
        for (*_, maps), (*_, others) in zip(of_epoch, wanted, strict=True):
            torch.testing.assert_close(maps, others, rtol=1e-4, atol=1e-5)


def test_ranks_of_different_speed_choose_alike_by_the_slowest(ranks):
    first, second = (found["budgets"] for found in ranks)
    assert first == second
    # 40 s of an epoch, 1.2 s for a rank's four of the eight images that are tried
    assert first["effort"] == Effort(14)
    assert first["rows"] == first["fixed"]
    spent = [(4 + 7) * 0.3, (4 + 7 + 7) * 0.3]
    assert first["overhead"] == pytest.approx([s / (s + 20.0 * n) for s, n in zip(spent, (1, 2), strict=True)])


def test_decisions_agree_and_are_those_of_one_process(ranks, three_ranks, tmp_path):
    first, *others = (found["decisions"] for found in (*ranks, *three_ranks))
    assert all(other == first for other in [*others, decisions(tmp_path)])
    assert first["stopped"][0][0] == first["epochs"] - 1 < 5
    assert first["best"] in first["files"]
    accuracy, error = first["counted"]
    assert error == pytest.approx((accuracy * (1 - accuracy) / 12) ** 0.5)  # twelve images, on all ranks together


def test_one_rank_that_wants_to_stop_stops_all(ranks):
    first, second = (found["joint"] for found in ranks)
    # the first check sees the best value, three more see none that is better
    assert first == {"epochs": 4, "stopped": 3, "best": {"own": 0.0}, "waited": 3}
    assert second == {"epochs": 4, "stopped": 3, "best": {"own": 3.0}, "waited": 0}


def test_x_rays_have_the_history_and_decisions_of_one_process(ranks, three_ranks, tmp_path):
    wanted = findings(tmp_path)
    assert wanted["decided"]["stopped"] == wanted["decided"]["epochs"] - 1 < 5
    assert wanted["decided"]["best"]
    for found in (rank["findings"] for rank in (*ranks, *three_ranks)):
        assert found["probe"] == wanted["probe"]
        assert found["decided"] == wanted["decided"]
        for (epoch, row), (same, expected) in zip(found["rows"], wanted["rows"], strict=True):
            assert epoch == same
            assert row.keys() == expected.keys() >= {"xai/reliance/marker", "xai/pointing_game", "xai/nuisance_mass"}
            numbers = {key: value for key, value in expected.items() if not key.endswith(COUNTED)}
            assert {key: row[key] for key in numbers} == pytest.approx(numbers, abs=1e-5)
        assert found["auroc"] == pytest.approx(wanted["auroc"], abs=1e-6)
    for same in (ranks, three_ranks):
        assert len({rank["findings"]["reasons"] for rank in same}) == 1


@pytest.mark.parametrize(
    ("situation", "case", "epoch"),
    [
        ("one_rank_raises", (1, 0), 0),
        ("one_rank_raises", (0, 2), 2),
        ("one_rank_reads_nothing", 0, 0),
        ("one_rank_reads_nothing", 2, 2),
    ],
)
def test_an_error_on_one_rank_skips_the_epoch_on_both(situation, case, epoch, ranks):
    first, second = (found[situation][case] for found in ranks)
    assert {**first, "told": []} == second
    assert first["epochs"] == 4
    assert first["explained"] == [e for e in range(4) if e != epoch]
    (message,) = first["told"]
    assert f"logs nothing for epoch {epoch}, because explaining failed on rank {0 if case == (0, 2) else 1}" in message
    keys = [set(values) for _, values in first["seen"]]
    assert keys == [keys[0]] * 4
    if epoch == 0:
        assert first["seen"][0][1]["xai/faithfulness"] == -1.0
    else:
        assert first["seen"][2][1] == first["seen"][1][1]


def test_errors_end_both_ranks_where_they_should(ranks):
    first, second = (found["raised"] for found in ranks)
    assert "failed on rank 1: RuntimeError: no heatmap here" in first["raise"]
    assert second["raise"] == "RuntimeError: no heatmap here"
    assert "failed on rank 1" in first["untried"]
    assert "but got 'nowhere'" in first["layer"]
    assert "but got 'nowhere'" in second["layer"]


def test_the_whole_validation_is_heard(ranks):
    report = Listening()
    data = loader(7, seed=1, batch_size=2)
    module = train([monitor(num_images=3, reports=report)], Drifting, val_loader=data, max_epochs=1).module
    with torch.no_grad():
        logits = module.eval()(data.dataset.images)
    order = content_keys(data.dataset.images).argsort()
    first, second = (found["whole_validation"]["heard"] for found in ranks)
    keys, labels, heard = first["told"][0][0]  # 7 images in 2 processes: one is padding
    assert torch.equal(keys, report.told[0][0].keys)
    assert torch.equal(labels, data.dataset.labels[order])
    torch.testing.assert_close(heard, logits[order], rtol=1e-4, atol=1e-5)
    assert second["told"] == []  # reports run on rank zero
    assert first["hooks"] == second["hooks"] == 0


def test_ranks_agree_that_it_is_not_heard(ranks):
    first, second = (found["whole_validation"]["bypassed"] for found in ranks)
    assert first["told"] == [{}]
    assert sum("no logits of the whole validation" in said for said in first["said"]) == 1
    assert first["epochs"] == second["epochs"] == 1
    assert first["hooks"] == second["hooks"] == 0


@pytest.mark.parametrize("sanity_steps", [0, 2])
def test_a_call_that_differs_on_one_rank_ends_both(sanity_steps, ranks):
    first, second = (found["another_call_on_one_rank"][sanity_steps] for found in ranks)
    assert "(a normalisation in the step?)" in second
    assert second.startswith("MisconfigurationException")
    assert first.startswith("RuntimeError: Explaining failed on rank 1: MisconfigurationException")


def test_rank_zero_alone_writes(ranks):
    first, second = (found["files"] for found in ranks)
    assert len(first["writes"]) == 4
    assert second["writes"] == []
    assert first["found"] == second["found"]
    assert [name.split("/")[-1].split("-")[0] for name in first["found"]] == [
        "epoch=0000",
        "epoch=0001",
        "xai_history.csv",
        "xai_images.csv",
    ]


def test_the_shortcut_alarm_is_that_of_one_process(ranks, tmp_path):
    first, second = (found["shortcut"] for found in ranks)
    expected = shortcut(tmp_path)
    for name in ("values", "alarms", "accuracy", "shares"):
        assert first[name] == second[name] == expected[name]
    assert first["values"] == [0.0, 0.0, 1.0, 1.0]
    assert first["accuracy"] == Accuracy(1.0, 13, 7 / 13)  # of 13 images in 2 processes one is padding
    assert first["said"] == expected["said"]
    assert (len(first["said"]), second["said"]) == (2, [])  # rank zero warns


def test_rank_zero_tells_the_accuracy_and_both_note_it(ranks):
    first, second = (rank["accuracy_told"] for rank in ranks)
    assert first["logged"] == second["logged"]
    assert [values for *_, values in first["logged"]] == [{"val_acc": 0.0}] * 2  # as rank 0 has it
    assert len(first["drawn"]) >= 1
    assert second["drawn"] == []


def test_a_resumed_run_goes_on(ranks):
    for found in (rank["resumed"] for rank in ranks):
        assert list(found["again"]) == [(epoch, epoch) for epoch in range(4)]
        for at, values in found["whole"].items():
            assert scores(found["again"][at]) == pytest.approx(scores(values), abs=1e-6)


def test_the_callback_can_be_sent_to_spawned_processes():
    ours = monitor()
    sent = pickle.loads(pickle.dumps(ours))
    train([sent])
    train([ours])
    assert [scores(row) for row in remembered(sent).values()] == [scores(row) for row in remembered(ours).values()]


def test_what_a_started_process_found_is_in_its_checkpoint(monkeypatch, tmp_path):
    ours, here, said = monitor(), monitor(), tmp_path / "said.txt"
    monkeypatch.setattr(runs, "rank_zero_warn", said.write_text)  # in the started process, too
    train([ours, ModelCheckpoint(tmp_path, filename="saved")], strategy="ddp_fork", default_root_dir=tmp_path)
    assert "`history` and `latest` stay empty where the Trainer was called. Read xai_history.csv" in said.read_text()
    assert (ours.history, ours.latest) == ([], None)
    ours.load_state_dict(torch.load(tmp_path / "saved.ckpt")["callbacks"][ours.state_key])
    said.unlink()
    train([here])
    assert not said.exists()
    assert [row.keys() for row in ours.history] == [row.keys() for row in here.history]
    with (tmp_path / "xai_history.csv").open() as file:
        written = [float(row["xai/faithfulness"]) for row in csv.DictReader(file)]
    assert written == [row["xai/faithfulness"] for row in ours.history]


@pytest.mark.parametrize(("count", "world"), [(5, 2), (1, 2), (7, 3), (2, 5), (6, 3)])
def test_shares_are_equally_long_and_cover_all(count, world):
    shares = [share_of(OneProcess(rank, world), count) for rank in range(world)]
    assert {len(indices) for indices in shares} == {-(-count // world)}
    assert [index for column in zip(*shares, strict=True) for index in column][:count] == list(range(count))


class TestLayouts:
    """channels_last is used on all ranks or on none."""

    @pytest.mark.parametrize("steps", [0, 2])
    @pytest.mark.parametrize(("name", "chosen"), [("both", True), ("first_views", False), ("second_views", False)])
    def test_ranks_agree(self, name, chosen, steps, ranks):
        first, second = (found["layouts"][name, steps] for found in ranks)
        assert first["chosen"] is second["chosen"] is chosen
        assert first["rows"] == second["rows"]
        assert len(first["rows"]) == 2

    def test_evaluations_after_that_are_in_it(self, ranks):
        for rank in ranks:
            assert sum(not contiguous for _, contiguous in rank["layouts"]["both", 0]["forwards"]) > 5
            for name in ("first_views", "second_views"):
                assert sum(not contiguous for _, contiguous in rank["layouts"][name, 0]["forwards"]) <= 1  # the trial

    def test_values_and_weights_do_not_depend_on_it(self, ranks):
        for rank in ranks:
            found = rank["layouts"]
            for name in ("first_views", "second_views"):
                assert differing(found["both", 2]["weights"], found[name, 2]["weights"]) == []
                for row, other in zip(found["both", 2]["rows"], found[name, 2]["rows"], strict=True):
                    assert scores(row) == pytest.approx(scores(other), abs=1e-5)


class TestRoom:
    """How many images go through the model together is one number, whichever rank has less room."""

    def test_all_try_again_with_fewer_images(self, ranks):
        first, second = (found["short_of_memory"]["crowded"] for found in ranks)
        assert first["room"] == second["room"] == 4
        tails = [found["forwards"][-found["forwards"][::-1].index(8) :] for found in (first, second)]
        assert tails[0] == tails[1]
        assert max(tails[0]) == 4
        warned = [text for text in first["said"] if "no room for 8 images" in text]
        assert warned == first["said"]
        assert len(warned) == 1
        assert second["said"] == []

    def test_values_and_evaluations_do_not_depend_on_it(self, ranks):
        for rank in ranks:
            found = rank["short_of_memory"]
            assert len(found["roomy"]["rows"]) == 2
            for row, other in zip(found["crowded"]["rows"], found["roomy"]["rows"], strict=True):
                assert row == pytest.approx(other, abs=1e-5)

    def test_another_error_beside_it_is_no_reason_to_try_again(self, ranks):
        first, second = (found["short_of_memory"]["both"] for found in ranks)
        assert first["rows"] == second["rows"] == []
        assert first["room"] is second["room"] is None
        assert len(first["said"]) == 2
        assert all("rank 0: RuntimeError: something else" in text for text in first["said"])

    def test_the_first_rank_chooses_within_what_all_have(self, ranks):
        first, second = (found["chosen_size"] for found in ranks)
        assert (first["asked"], second["asked"]) == ([4000], [])
        assert first["grown"] == second["grown"] == 16
        assert first["rows"] == second["rows"] == 2
