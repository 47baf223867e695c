"""The shortcut alarm in real runs: its value, its words in every logger, after a resume; and it disturbs nothing."""

import os
import signal
import time
import warnings

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from torch.utils.data import DataLoader

from lightning_xai import ExplanationMonitor, GradCAM, ShortcutAlarm
from lightning_xai.loggers import AlarmLoggingError, LoggedAlarm, log_alarm
from lightning_xai.metrics import Sparseness
from lightning_xai.reports import Report, Scalars
from tests.callbacks._killed import Dies
from tests.callbacks._runs import Attendance, differing, monitor, train
from tests.callbacks._shortcut import KEY, Corners, Looks, ReadsTheCorner, loader, run, values, watching

pytestmark = pytest.mark.filterwarnings("ignore:ExplanationMonitor suspects")


@pytest.fixture(autouse=True)
def _files_go_to_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def alerts_in(path):
    """The alerts in a W&B run's file, once it is finished, which happens in a process of W&B's own."""
    for _ in range(200):
        records = list(records_in(path.read_bytes()))
        if records and records[-1].WhichOneof("record_type") == "exit":
            break
        time.sleep(0.1)
    return [record.alert for record in records if record.WhichOneof("record_type") == "alert"]


def records_in(content):
    """Yield the records of such a file: it has blocks of 32 KiB, and before each part its length and kind."""
    from wandb.proto.wandb_internal_pb2 import Record

    whole, place = b"", 7
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        whole += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in {1, 4}:  # whole, or the last part
            yield Record.FromString(whole)
            whole = b""


def told(caught):
    """The causes that were told, in words."""
    return [str(one.message) for one in caught if "suspects a shortcut" in str(one.message)]


def run_and_listen(*callbacks, **settings):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        left = run(*callbacks, **settings)
    return left, told(caught)


class TestAlarm:
    def test_is_raised_in_the_third_explanation_and_told_once_per_cause(self):
        ours = watching(shortcut_alarm=ShortcutAlarm(nuisance="tag"))
        _, said = run_and_listen(ours, data=loader(regions=True), epochs=5)
        assert values(ours) == [0.0, 0.0, 1.0, 1.0, 1.0]
        assert [text.partition("but ")[2].partition(":")[0] for text in said] == [
            "not on the object",
            "too much on the border",
            "too much on the tag",
        ]
        assert all(text.startswith(f"ExplanationMonitor suspects a shortcut, {KEY} in epoch 2: ") for text in said)
        assert (
            "0.750 ± 0.000 of the heat on the border, which is 0.438 of the image, 3 explanations in a row" in said[1]
        )

    def test_heat_on_the_object_raises_none(self):
        ours = watching("middle")
        _, said = run_and_listen(ours)
        assert values(ours) == [0.0] * 4
        assert said == []

    def test_a_model_that_is_not_right_raises_none(self):
        ours = watching()
        _, said = run_and_listen(ours, make=lambda: ReadsTheCorner(0.0))
        assert (values(ours), said) == ([0.0] * 4, [])

    def test_it_ends_where_the_heat_comes_back(self):
        ours = watching(["corner"] * 3 + ["middle", "corner", "corner", "corner"])
        _, said = run_and_listen(ours, epochs=7)
        assert values(ours) == [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
        assert len(said) == 2  # object and border, once each

    def test_without_annotations_the_border_tells(self):
        ours = watching(metrics="insertion_deletion")
        _, said = run_and_listen(ours, data=loader(masks=False))
        assert values(ours) == [0.0, 0.0, 1.0, 1.0]
        assert len(said) == 1
        assert "too much on the border" in said[0]

    def test_accuracy_is_that_of_the_whole_validation(self):
        ours = watching(num_images=8)
        run(ours, data=loader(count=20))
        accuracy = ours.history[-1].loaders[0].accuracy
        assert (accuracy.value, accuracy.num_images, accuracy.most_frequent) == (1.0, 20, 0.5)

    def test_accuracy_of_the_probe_where_the_steps_cannot_be_heard(self):
        class CallsTwice(ReadsTheCorner):
            def validation_step(self, batch, batch_idx, dataloader_idx=0):
                super().validation_step(batch, batch_idx)
                self(batch["image"])

        ours = watching(num_images=8)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run(ours, data=loader(count=20), make=CallsTwice)
        accuracy = ours.history[-1].loaders[0].accuracy
        assert (accuracy.value, accuracy.num_images) == (1.0, 8)
        assert not any("logits of the whole validation" in str(one.message) for one in caught)  # nobody asked for them

    def test_reports_that_want_logits_get_them_all_the_same(self):
        class Hears(Report):
            wants_validation_logits = True
            heard: list = []  # noqa: RUF012

            def publish(self, epoch, run):
                self.heard.append(len(run.validation[0]))

        ours = watching(num_images=8, reports=Hears())
        run(ours, data=loader(count=20), epochs=1)
        assert Hears.heard == [20]
        assert ours.history[-1].loaders[0].accuracy.num_images == 20


class TestKey:
    def test_is_there_from_the_first_validation_and_can_be_watched(self):
        seen = Attendance()
        stop = EarlyStopping(KEY, mode="min", patience=99, divergence_threshold=0.5)
        keep = ModelCheckpoint("kept", monitor=KEY, mode="min", save_top_k=-1)
        left = run(watching(), stop, keep, seen, epochs=6)
        assert [value[KEY] for _, value in seen.seen] == [0.0, 0.0, 1.0]
        assert left.trainer.current_epoch == 3  # whoever wants to end there can

    def test_a_validation_that_fails_does_not_raise_it(self):
        class Fails(Looks):
            def explain(self, classifier, images, target):
                if not classifier.model.trainer.sanity_checking and classifier.model.trainer.current_epoch == 0:
                    raise RuntimeError("no heatmap today")
                return super().explain(classifier, images, target)

        ours, seen = ExplanationMonitor({"looks": Fails()}, num_images=8, reports=[]), Attendance()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run(ours, seen, epochs=2)
        assert [value[KEY] for _, value in seen.seen] == [0.0, 0.0]

    def test_of_several_explainers_and_loaders(self):
        both = {"corner": Looks("corner"), "middle": Looks("middle")}
        ours = ExplanationMonitor(both, "insertion_deletion", num_images=12, reports=[])
        seen = Attendance()
        _, said = run_and_listen(ours, seen, data=[loader(), loader(masks=False, count=16)], epochs=3)
        keys = [f"xai/{name}/shortcut_alarm/dataloader_idx_{i}" for name in both for i in (0, 1)]
        assert all(key in value for key in keys for _, value in seen.seen)
        assert [ours.history[-1][key] for key in keys] == [1.0, 1.0, 0.0, 0.0]
        assert [text.partition(" in epoch")[0].rpartition(" ")[2] for text in said] == [keys[0], keys[0], keys[1]]

    def test_off_there_is_none_and_nobody_listens(self):
        ours, seen = watching(shortcut_alarm=False), Attendance()
        run(ours, seen)
        assert KEY not in seen.seen[-1][1]
        assert ours.latest.loaders[0].heat_shares == {}
        assert ours.latest.loaders[0].accuracy.num_images == 12  # of the probe
        assert ours._runs["fit"].listening is None

    def test_validate_and_test_have_none(self):
        ours = watching()
        left = run(ours, epochs=3)
        left.trainer.validate(left.module, loader(), verbose=False)
        assert KEY in ours.history[0]
        assert KEY not in ours.latest
        assert ours.latest.stage == "validate"

    def test_what_is_no_alarm_is_refused(self):
        with pytest.raises(TypeError, match="Expected `shortcut_alarm` to be a ShortcutAlarm or a boolean, but got 3"):
            ExplanationMonitor(shortcut_alarm=3)
        with pytest.raises(ValueError, match="to have a gain or a localization, because ShortcutAlarm judges"):
            ExplanationMonitor(metrics=[Sparseness()], shortcut_alarm=ShortcutAlarm())
        assert ExplanationMonitor(metrics=[Sparseness()]).plan.alarm is None

    def test_a_nuisance_that_the_data_lack_is_an_error_before_training(self):
        ours = watching(shortcut_alarm=ShortcutAlarm(nuisance="marker"))
        with pytest.raises(ValueError, match=r"which are: 'tag', but got 'marker'"):
            run(ours, data=loader(regions=True))
        assert ours.history == []


class TestLoggers:
    def test_tensorboard(self, tmp_path):
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        logger, ours = TensorBoardLogger(tmp_path), watching(reports=[Scalars()])
        _, said = run_and_listen(ours, logger=logger)
        events = EventAccumulator(logger.log_dir).Reload()
        assert [one.value for one in events.Scalars(KEY)] == [0.0, 0.0, 1.0, 1.0]
        found = events.Tensors(f"{KEY}/text_summary")
        steps = [one.step for one in events.Scalars(KEY)]
        assert [one.step for one in found] == [steps[2], steps[2]]
        texts = [one.tensor_proto.string_val[0].decode() for one in found]
        assert all(text in whole for text, whole in zip(texts, said, strict=True))
        assert "not on the object" in texts[0]

    def test_wandb_offline(self, tmp_path, monkeypatch):
        for name, value in {"MODE": "offline", "CONSOLE": "off", "DISABLE_GIT": "true"}.items():
            monkeypatch.setenv(f"WANDB_{name}", value)
        logger, ours = WandbLogger(save_dir=tmp_path, project="project", offline=True), watching()
        run(ours, logger=logger)
        logger.experiment.finish()
        (path,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
        alerts = alerts_in(path)
        assert [(one.title, one.level) for one in alerts] == [
            (f"{cause}: {KEY}", "WARN") for cause in ("object", "border")
        ]
        assert "not on the object: accuracy 1.000 ± 0.000 on 12 images" in alerts[0].text
        assert "too much on the border" in alerts[1].text

    @pytest.mark.filterwarnings("ignore:MLFlow only allows")
    def test_mlflow(self, tmp_path, monkeypatch):
        pytest.importorskip("mlflow")
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        logger = MLFlowLogger("test", save_dir=str(tmp_path / "mlruns"))
        run(watching(), logger=logger)
        lines = logger.experiment.get_run(logger.run_id).data.tags[KEY].splitlines()
        assert ["not on the object" in lines[0], "too much on the border" in lines[1]] == [True, True]

    def test_a_logger_without_words_is_left_alone(self, tmp_path):
        logger = CSVLogger(tmp_path)
        _, said = run_and_listen(watching(), logger=logger)
        assert len(said) == 2

    def test_a_logger_that_fails_ends_nothing(self, tmp_path, monkeypatch):
        logger, ours = TensorBoardLogger(tmp_path), watching()
        second = TensorBoardLogger(tmp_path, name="second")
        reached = []
        monkeypatch.setattr(logger.experiment, "add_text", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        monkeypatch.setattr(second.experiment, "add_text", lambda *given: reached.append(given[0]))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            left = run(ours, logger=[logger, second])
        assert left.trainer.current_epoch == 4
        assert reached == [KEY, KEY]
        text = (
            "could not tell the shortcut alarm: Expected 'xai/shortcut_alarm' to be told everywhere, but it failed for "
        )
        assert sum(f"{text}TensorBoardLogger: OSError: disk full." in str(one.message) for one in caught) == 2
        with pytest.raises(AlarmLoggingError):
            log_alarm(left.trainer, LoggedAlarm(KEY, "object", "text", 0))

    def test_nothing_private_is_told(self, tmp_path):
        for private in (True, False):
            ours = watching(private=private)
            _, said = run_and_listen(ours)
            assert len(said) == 2
            assert not any("patient" in text for text in said)


class TestResume:
    def test_it_goes_on_and_is_not_told_twice(self, tmp_path):
        _, said = run_and_listen(watching(), ModelCheckpoint(tmp_path, filename="saved"), epochs=3)
        assert len(said) == 2
        again = watching()
        _, said = run_and_listen(again, epochs=5, ckpt_path=tmp_path / "saved.ckpt")
        assert values(again) == [0.0, 0.0, 1.0, 1.0, 1.0]
        assert said == []

    def test_after_a_kill(self, tmp_path):
        child = os.fork()
        if not child:
            run(watching(), ModelCheckpoint(tmp_path, filename="saved"), Dies("on_train_batch_end"), epochs=6)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
        again = watching()
        _, said = run_and_listen(again, epochs=6, ckpt_path=tmp_path / "saved.ckpt")
        assert values(again) == [0.0, 0.0, 1.0, 1.0, 1.0, 1.0]
        assert said == []

    def test_explanations_before_count(self, tmp_path):
        _, said = run_and_listen(watching(), ModelCheckpoint(tmp_path, filename="saved"), epochs=2)
        assert said == []
        again = watching()
        _, said = run_and_listen(again, epochs=3, ckpt_path=tmp_path / "saved.ckpt")
        assert values(again) == [0.0, 0.0, 1.0]
        assert len(said) == 2

    def test_the_state_holds_what_is_judged(self, tmp_path):
        ours = watching(shortcut_alarm=ShortcutAlarm(nuisance="tag"))
        run(ours, data=loader(regions=True), epochs=3)
        torch.save(ours.state_dict(), tmp_path / "state.pt")
        again = watching(shortcut_alarm=ShortcutAlarm(nuisance="tag"))
        again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        assert len(again.history) == 3
        for one, other in zip(ours.history, again.history, strict=True):
            found, read = one.loaders[0], other.loaders[0]
            assert read.accuracy == found.accuracy
            for kind in ("heat_shares", "chance_shares"):
                for outer, rows in getattr(found, kind).items():
                    for area, expected in rows.items():
                        assert torch.equal(getattr(read, kind)[outer][area], expected)
        assert again._runs["fit"].alarms == {(KEY, "object"), (KEY, "border"), (KEY, "regions/tag")}

    @pytest.mark.parametrize("part", ["heat_shares", "accuracy", "alarms"])
    def test_a_malformed_state_starts_afresh(self, part):
        ours = watching()
        run(ours, epochs=1)
        state = ours.state_dict()
        broken = {"heat_shares": {"looks": {"names": ["object"], "values": torch.ones(1, 3), "wide": {}}}}
        broken |= {"accuracy": [2.0, 12, 0.5]}
        if part == "alarms":
            state["alarms"] = [["one"]]
        else:
            state["epochs"][0]["loaders"]["0"][part] = broken[part]
        again = watching()
        with pytest.warns(UserWarning, match="starts afresh"):
            again.load_state_dict(state)
        assert again.history == []

    def test_a_state_of_before_there_was_an_alarm(self):
        ours = watching()
        run(ours, epochs=1)
        state = ours.state_dict()
        del state["alarms"]
        for name in ("heat_shares", "chance_shares", "accuracy"):
            del state["epochs"][0]["loaders"]["0"][name]
        again = watching()
        again.load_state_dict(state)
        assert again.history[0].loaders[0].accuracy is None


class TestNoTrace:
    def test_weights_are_those_without_it(self):
        class Dropping(ReadsTheCorner):
            """Learns, with dropout, and in training mode while it is validated."""

            def forward(self, images):
                return super().forward(torch.nn.functional.dropout(images, 0.2, self.training))

            def on_validation_model_eval(self):
                pass

            def configure_optimizers(self):
                return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)

        def left(*callbacks):
            data = DataLoader(Corners(), 4, shuffle=True)
            return train(list(callbacks), Dropping, train_loader=data, val_loader=loader(), max_epochs=3).state()

        assert differing(left(), left(watching())) == []

    def test_no_hook_is_left(self):
        left = run(watching(), epochs=1)
        modules = list(left.module.modules())
        assert not any(one._forward_hooks or one._forward_pre_hooks for one in modules)

    def test_it_evaluates_nothing(self):
        counts = [run_and_count(alarm) for alarm in (True, False)]
        assert counts[0] == counts[1] > 0


def run_and_count(alarm):
    """Calls of the model in a run."""
    calls = []

    class Counts(ReadsTheCorner):
        def forward(self, images):
            calls.append(len(images))
            return super().forward(images)

    run(watching(shortcut_alarm=alarm), make=Counts, epochs=2)
    return sum(calls)


def test_with_a_real_explainer_and_the_default_metrics():
    ours = monitor(GradCAM(), None, num_images=8)
    train([ours], max_epochs=1)
    assert ours.history[0][KEY] == 0.0
    assert set(ours.latest.loaders[0].heat_shares["grad_cam"]) == {"border"}
