"""What nobody asks for is not executed, nor even looked at."""

from functools import partial

import pytest

import lightning_xai
from benchmarks.modules import executed, explain, fit, lightning_module, network

ASKED_FOR = {
    "alarm": ("callbacks/steps/alarming.py", "probing/shortcut_alarm.py", "probing/decisions/shortcut.py"),
    "validation": ("callbacks/steps/hearing.py", "callbacks/run/watched_validation.py"),
    "failures": ("callbacks/steps/failures.py", "probing/failures.py"),
    "budget": ("callbacks/steps/budget.py",),
    "breakdown": ("probing/breakdown.py",),
    "groups": ("probing/groups_in_batch.py",),
    "reports": ("callbacks/run/logged_beside.py", "reports/html/html_report.py", "reports/grid.py", "reports/maps.py"),
}
ALONE = {"reports": lightning_xai.Scalars(), "shortcut_alarm": False}


def of_warm_call(call, make):
    call(make())
    model = make()
    call(model)
    return set(executed(partial(call, model)))


def test_an_explanation_passes_thirteen_files():
    assert len(of_warm_call(explain, network)) <= 13


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        ({}, ()),
        ({"shortcut_alarm": True}, ("alarm", "validation")),
        ({"max_overhead": 0.5}, ("budget",)),
        ({"breakdown": "faithfulness"}, ("breakdown",)),
        ({"groups": lambda batch: [0, 1, 0, 1]}, ("groups",)),
    ],
)
# a fit of one batch leaves a budget no time
@pytest.mark.filterwarnings(
    "ignore:ExplanationMonitor.*explains nothing in this fit", "ignore:.*counts every validation"
)
def test_an_explained_validation_passes_what_is_asked_for(settings, asked):
    files = of_warm_call(partial(fit, **{**ALONE, **settings}), lightning_module)
    found = {name for name, paths in ASKED_FOR.items() if any(path in files for path in paths)}
    assert found == set(asked)


def test_reports_that_have_nothing_to_tell_pass_no_other_file():
    files = of_warm_call(partial(fit, **ALONE), lightning_module)
    assert len(files) <= 59
    idle = [lightning_xai.Filmstrip(), lightning_xai.Breakdown()]
    more = of_warm_call(partial(fit, **{**ALONE, "reports": idle}), lightning_module) - files
    assert more == {"reports/filmstrip.py", "reports/breakdown.py"}
