"""What holds for every metric of `list_metrics`."""

from __future__ import annotations

import gc
import math
import pickle
import random
import weakref

import matplotlib as mpl
import numpy as np
import pytest
import torch
from torchmetrics import MetricCollection

from lightning_xai.metrics.metric import ExplanationMetric
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.readout import Readout
from tests.metrics import _processes
from tests.metrics._harness import (
    SIZE,
    Batch,
    Entry,
    EvaluationCount,
    Squares,
    close,
    entries,
    tiny_net,
    undefined,
    without_entry,
)

mpl.use("Agg")

ALL = entries()
ENTRIES = [e for e in ALL if e.repeatable]
SETTINGS = [pytest.param(e, s, id=f"{e}-{i}") for e in ENTRIES for i, s in enumerate(e.all_settings)]
DEGENERATE = {
    "zero": torch.zeros(SIZE),
    "constant": torch.full(SIZE, 0.7),
    "negative": -torch.linspace(0.1, 1.0, SIZE[0] * SIZE[1]).view(SIZE),
    "negative_constant": torch.full(SIZE, -0.3),
    "one_hot": torch.zeros(SIZE).index_put_((torch.tensor(4), torch.tensor(6)), torch.tensor(2.0)),
    "negative_zero": torch.zeros(SIZE).index_fill_(1, torch.tensor([3]), -0.0),
}

every_metric = pytest.mark.parametrize("entry", ENTRIES, ids=str)
measured_ones_too = pytest.mark.parametrize("entry", ALL, ids=str)


def test_every_metric_joins_the_contract():
    assert without_entry() == []


@pytest.mark.parametrize(("entry", "settings"), SETTINGS)
def test_value_is_the_definition(entry, settings):
    batch, net = Batch.draw(6, seed=1), tiny_net()
    metric = entry.updated(batch, net, settings)
    expected = entry.expected(batch, net, settings)
    close(metric.rows, expected)
    low, high = metric.range
    assert len(expected[~undefined(expected)].unique()) > 1  # a batch on which the metric says nothing proves nothing
    assert low - 1e-6 <= metric.compute().item() <= high + 1e-6
    if expected.ndim == 1:
        assert low - 1e-6 <= expected.nan_to_num(low).min()
        assert expected.nan_to_num(low).max() <= high + 1e-6
    close(metric.compute(), entry.value(expected))


@pytest.mark.parametrize(("entry", "settings"), SETTINGS)
def test_function_is_the_class(entry, settings):
    batch, net = Batch.draw(5, seed=2), tiny_net()
    rows = entry.called(batch, net, settings)
    assert rows.dtype == torch.float32
    expected = entry.per_image(entry.updated(batch, net, settings).rows)
    torch.testing.assert_close(rows, expected, rtol=0, atol=0, equal_nan=True)


@every_metric
def test_batch_equals_singles_and_any_chunk(entry):
    batch, net = Batch.draw(7, seed=3), tiny_net()
    expected = entry.updated(batch, net).rows
    singles = entry.metric()
    for i in range(len(batch)):
        singles.update(**entry.given(batch[[i]], net))
    close(singles.rows, expected)
    for chunk_size in (1, 3, 1000):
        close(entry.updated(batch, Classifier(net, Readout(chunk_size=chunk_size))).rows, expected)
    reverse = list(range(len(batch)))[::-1]
    close(entry.updated(batch[reverse], net).rows.flip(0), expected)


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    return _processes.run(tmp_path_factory.mktemp("processes"))


@every_metric
@pytest.mark.parametrize("share", _processes.SHARES)
def test_two_processes_equal_one(entry, share, two_processes):
    metric = entry.updated(Batch.draw(_processes.COUNT), tiny_net())
    found = two_processes[entry.alias][share]
    assert found["value"] == pytest.approx(metric.compute().item(), rel=1e-5, abs=1e-6)
    assert found["undefined"] == metric.undefined
    assert found["error"] == pytest.approx(metric.standard_error().item(), rel=1e-5, abs=1e-6)
    per_class = {label: value.item() for label, value in metric.per_class().items()}
    assert found["per_class"] == pytest.approx(per_class, rel=1e-5, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("share", _processes.SHARES)
def test_a_suite_on_two_processes_equals_one(share, two_processes):
    suite = _processes.suite()
    suite.update(**_processes.suite_given(Batch.draw(_processes.COUNT), tiny_net()))
    expected = {name: value.item() for name, value in suite.compute().items()}
    assert two_processes["suite"][share] == pytest.approx(expected, abs=1e-6)


@every_metric
def test_pickle_clone_reset(entry):
    batch, net = Batch.draw(6), tiny_net()
    metric = entry.updated(batch[:4], net, entry.all_settings[-1])
    value = metric.compute()
    for copy in (pickle.loads(pickle.dumps(metric)), metric.clone()):
        assert copy.compute() == value
        copy.update(**entry.given(batch[4:], net))
        whole = entry.updated(batch, net, entry.all_settings[-1])
        close(copy.rows, whole.rows)
        assert repr(copy.evidence) == repr(metric.evidence)
        assert copy.settings() == metric.settings()
    assert len(metric.rows) == 4
    metric.reset()
    assert len(metric.rows) == 0
    assert metric.undefined == 0
    metric.update(**entry.given(batch[:4], net))
    assert metric.compute() == value


@every_metric
def test_forward_returns_the_batch_and_keeps_the_rest(entry):
    batch, net = Batch.draw(8), tiny_net()
    metric = entry.metric()
    for rows in (slice(0, 3), slice(3, 8)):
        value = metric(**entry.given(batch[rows], net))
        close(value, entry.updated(batch[rows], net).compute())
    close(metric.compute(), entry.updated(batch, net).compute())


@every_metric
@pytest.mark.parametrize("kind", DEGENERATE)
def test_degenerate_maps_have_a_value_or_are_counted(entry, kind):
    batch, net = Batch.draw(3, seed=4), tiny_net()
    heatmaps = torch.stack([batch.heatmaps[0], DEGENERATE[kind], batch.heatmaps[2]])
    batch = batch.with_heatmaps(heatmaps)
    metric = entry.updated(batch, net)
    expected = entry.expected(batch, net)
    close(metric.rows, expected)
    # a skill may have no value of all images together, and an image no neighbours: more than rows tell
    assert metric.undefined == metric.estimate(metric.rows).undefined >= int(undefined(expected).sum())
    assert metric.can_be_undefined or metric.undefined == 0
    close(metric.compute(), entry.value(expected))


@every_metric
def test_can_be_undefined_is_not_said_in_vain(entry):
    batch, net = Batch.draw(6), tiny_net()
    counts = [
        entry.updated(batch.with_heatmaps(m.expand_as(batch.heatmaps)), net).undefined for m in DEGENERATE.values()
    ]
    assert any(counts) == (entry.cls.can_be_undefined and not entry.undefined_by_model)


@pytest.mark.parametrize("entry", [e for e in ALL if "heatmaps" in e.arguments], ids=str)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_heatmaps_that_are_not_finite_are_named(entry, value):
    batch, net = Batch.draw(3), tiny_net()
    batch.heatmaps[1, 2, 3] = value
    text = r"Expected `heatmaps` to be finite, but 1 of 3 contain NaN or infinity \(index 1\)\."
    metric = entry.metric()
    with pytest.raises(ValueError, match=text):
        metric.update(**entry.given(batch, net))
    assert len(metric.rows) == 0
    with pytest.raises(ValueError, match=text):
        entry.called(batch, net)


@measured_ones_too
def test_a_missing_field_names_itself(entry):
    given = entry.given(Batch.draw(3), tiny_net())
    for name in given:
        if name == "heatmaps" and "explainer" in given:
            continue  # made by the explainer
        metric = entry.metric(entry.reads_all_with)
        with pytest.raises(ValueError, match=rf"Expected `({name}|masks|boxes)` to be given, because a metric reads"):
            metric.update(**{key: value for key, value in given.items() if key != name})


@measured_ones_too
def test_declared_needs(entry):
    fields = {"masks" if name == "boxes" else name for name in entry.arguments}
    assert entry.metric(entry.reads_all_with).needs == fields & {
        "masks",
        "regions",
        "explainer",
        "previous_heatmaps",
        "other_heatmaps",
    }


@measured_ones_too
def test_declared_inputs_are_read_and_no_others(entry):
    batch, net, default = Batch.draw(3), tiny_net(), entry.metric()
    declared, read = {}, {}
    for metric in map(entry.metric, entry.all_settings):
        assert default.all_inputs <= metric.all_inputs <= default.all_inputs | metric.optional_inputs
        case = entry.case_of(metric.all_inputs, batch, net)  # a field that was not declared is missing
        metric.score(case)
        assert case.read == metric.all_inputs
        for evidence in metric.evidence:
            case = entry.case_of(evidence.inputs, batch, net)
            case[evidence]
            declared.setdefault(type(evidence), set()).update(evidence.inputs)
            read.setdefault(type(evidence), set()).update(case.read)
    assert read == declared


@every_metric
def test_standard_error_and_classes(entry):
    batch, net = Batch.draw(12, seed=5), tiny_net()
    metric = entry.updated(batch, net)
    rows = metric.rows.double()
    defined = rows[~undefined(rows)]
    left_out = entry.without_each(defined)
    jackknife = ((len(defined) - 1) * ((left_out - left_out.mean()) ** 2).mean()).sqrt()  # of a mean: s / √n
    assert metric.standard_error().item() == pytest.approx(jackknife.item(), rel=1e-4, nan_ok=True)
    assert metric.standard_error().dtype == torch.float32
    per_class = metric.per_class()
    assert sorted(per_class) == (sorted(batch.target.unique().tolist()) if "target" in entry.arguments else [])
    for label, value in per_class.items():
        close(value, entry.value(rows[batch.target == label]))


@every_metric
def test_too_few_images_have_no_standard_error(entry):
    metric = entry.metric()
    with pytest.warns(UserWarning, match="before the ``update`` method"):
        assert bool(metric.compute().isnan())
    assert bool(metric.standard_error().isnan())
    metric = entry.updated(Batch.draw(1), tiny_net())
    assert bool(metric.standard_error().isnan())
    assert metric.compute().shape == ()


@every_metric
def test_collection_with_default_groups_merges_nothing(entry):
    """Even if the states coincide on the first batch, which decides for torchmetrics."""
    batch, net = Batch.draw(6, seed=6), tiny_net()
    same = Batch.draw(1, seed=6)
    same = same.with_heatmaps(torch.zeros_like(same.heatmaps))
    build = lambda: {f"m{i}": entry.metric(settings) for i, settings in enumerate(entry.all_settings)}  # noqa: E731
    collection, alone = MetricCollection(build()), build()
    assert collection._enable_compute_groups
    for part in (same, batch[:2], batch[2:]):
        collection.update(**entry.given(part, net), unknown=3)
        for metric in alone.values():
            metric.update(**entry.given(part, net))
    assert len(collection.compute_groups) == len(alone)
    for name, value in collection.compute().items():
        close(value, alone[name].compute(), 1e-7)


def test_no_two_metrics_have_one_description():
    """Torchmetrics merges metrics of equal states; a checksum of the description is a state that tells them apart."""
    shown = [repr(entry.metric(settings)) for entry in ENTRIES for settings in entry.all_settings]
    assert len(set(shown)) == len(shown)


def _trace(net):
    return (
        [module.training for module in net.modules()],
        {name: value.clone() for name, value in net.state_dict().items()},
        [(p.requires_grad, p.grad) for p in net.parameters()],
        torch.get_rng_state(),
        random.getstate(),
        np.random.get_state()[1].copy(),
    )


@every_metric
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_any_gradient_mode_and_no_trace(entry, mode):
    batch, net = Batch.draw(4), tiny_net()
    expected = entry.updated(batch, net).rows
    before = _trace(net)
    with mode():
        inside = Batch(**{name: getattr(batch, name).clone() for name in Batch.__dataclass_fields__})
        metric = entry.updated(inside, net)
        close(metric.compute(), entry.metric().aggregate(expected))
    torch.testing.assert_close(metric.rows, expected, rtol=0, atol=0, equal_nan=True)
    assert not metric.rows.requires_grad
    assert not metric.rows.is_inference()
    metric.update(**entry.given(batch, net))  # the same states, outside
    assert len(metric.rows) == 8
    torch.testing.assert_close(_trace(net), before, rtol=0, atol=0)
    assert all(gradient is None for _, gradient in _trace(net)[2])


@measured_ones_too
def test_holds_neither_model_nor_images(entry):
    batch, net = Batch.draw(16), tiny_net()
    metric = entry.updated(batch, net)
    assert list(metric.parameters()) == []
    assert list(metric.children()) == []
    assert metric.state_dict() == {}
    assert len(pickle.dumps(metric)) < 6000 + metric.rows.nbytes
    held = [weakref.ref(net), *(weakref.ref(value) for value in vars(batch).values())]
    del batch, net
    gc.collect()
    assert [reference() for reference in held] == [None] * len(held)


@measured_ones_too
def test_plot_and_bounds(entry):
    from matplotlib import pyplot as plt

    batch, net = Batch.draw(6), tiny_net()
    metric = entry.updated(batch, net)
    low, high = metric.range
    assert metric.plot_lower_bound == (low if math.isfinite(low) else None)
    assert metric.plot_upper_bound == (high if math.isfinite(high) else None)
    for value in (None, metric.compute(), [metric.compute(), metric.compute()]):
        figure, axes = metric.plot(value)
        assert isinstance(figure, plt.Figure)
        assert isinstance(axes, plt.Axes)
        bottom, top = axes.get_ylim()
        assert not math.isfinite(low) or bottom <= low
        assert not math.isfinite(high) or top >= high
        plt.close(figure)
    figure, axes = plt.subplots()
    assert metric.plot(ax=axes)[1] is axes
    plt.close(figure)


@measured_ones_too
def test_cost_is_what_is_declared(entry):
    net = tiny_net()
    count = EvaluationCount(net)
    for settings in entry.all_settings:
        count.images = 0
        metric = entry.updated(Batch.draw(5), net, settings)
        assert count.images / 5 == metric.evaluations(explaining=Squares.evaluations) - entry.shared


@measured_ones_too
def test_facts_that_a_reader_and_a_monitor_need(entry):
    cls = entry.cls
    assert issubclass(cls, ExplanationMetric)
    assert cls.alias == entry.alias
    assert entry.metric().higher_is_better in (True, False, None)
    assert cls.range[0] < cls.range[1]
    assert cls.family == cls.__module__.split(".")[-2]
    settings = ", ".join(f"{name}={value!r}" for name, value in entry.metric().settings().items())
    assert repr(entry.metric()) == f"{cls.__name__}({settings})"
    for promise in ("Evaluations per image: ", "Source: ", "Args:", "Example:"):
        assert promise in cls.__doc__
    assert "Fake-CAM" in cls.__doc__


@pytest.mark.cuda
@every_metric
def test_cuda_equals_cpu(entry: Entry):
    batch, net = Batch.draw(6), tiny_net()
    expected = entry.updated(batch, net).rows
    close(entry.updated(batch.to("cuda"), net.to("cuda")).rows.cpu(), expected, 1e-4)
