from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest

import lightning_xai
from lightning_xai import functional, metrics
from lightning_xai.aliases import MetricAlias
from lightning_xai.metrics import ExplanationMetric, get_metric, list_metrics
from lightning_xai.metrics.registry import METRICS


def test_every_metric_file_is_registered_exported_and_has_a_function():
    files = {path.stem: path.parent.name for path in Path(metrics.__file__).parent.glob("*/*.py") if _is_metric(path)}
    assert sorted(files) == list_metrics()
    assert list(get_args(MetricAlias)) == list_metrics()
    assert sorted(functional.__dir__()) == list_metrics()
    for alias, family in files.items():
        metric = get_metric(alias)
        assert isinstance(metric, ExplanationMetric)
        assert (metric.alias, metric.family) == (alias, family)
        assert alias in list_metrics(family)
        assert getattr(metrics, type(metric).__name__) is type(metric)
        assert getattr(lightning_xai, type(metric).__name__) is type(metric)
        assert getattr(functional, alias).__module__ == type(metric).__module__


def _is_metric(path):
    module = import_module(f"lightning_xai.metrics.{path.parent.name}.{path.stem}")
    classes = [value for value in vars(module).values() if inspect.isclass(value)]
    return any(issubclass(c, ExplanationMetric) and c.__module__ == module.__name__ for c in classes)


def test_keys_are_unique():
    keys = [get_metric(alias).key for alias in list_metrics()]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("alias", list_metrics())
def test_settings_are_plain_and_agree_with_the_function(alias):
    metric = type(get_metric(alias))
    settings = {n: p for n, p in inspect.signature(metric).parameters.items() if p.kind is not p.VAR_KEYWORD}
    assert all(isinstance(p.default, (str, int, float, tuple, type(None))) for p in settings.values())
    parameters = inspect.signature(getattr(functional, alias)).parameters
    assert {name: parameters[name] for name in settings} == {
        name: p.replace(kind=p.KEYWORD_ONLY) for name, p in settings.items()
    }


def test_settings_reach_the_metric():
    assert get_metric("insertion_auc", num_steps=5).curve.num_steps == 5


def test_an_unknown_alias():
    with pytest.raises(ValueError, match=r"Expected `metric` to be one of .*'aopc', .*Did you mean 'deletion_auc'\?"):
        get_metric("deletion")
    with pytest.raises(ValueError, match=r"Expected `family` to be one of .*'localization'"):
        list_metrics("beauty")


def test_the_key_of_a_value_leads_to_the_metric_that_has_it():
    with pytest.raises(ValueError, match=r"got 'faithfulness_gain', the key of a value: pass 'insertion_deletion'"):
        get_metric("faithfulness_gain")
    keys = {get_metric(alias).key: alias for alias in list_metrics()}
    others = {key: alias for key, alias in keys.items() if key != alias and "/" not in key and key != "heat_in"}
    assert METRICS.known_as == others | {"faithfulness_gain": "insertion_deletion"}
