"""Every metric of a network that wants more than the image: batch = ``lambda x: model(x, its own)``, one by one."""

import pytest
import torch
from torch.nn import functional as F

from lightning_xai import functional
from lightning_xai.evidence.case import Case
from lightning_xai.explainers import get_explainer
from lightning_xai.metrics import get_metric, list_metrics
from lightning_xai.model import Classifier
from tests._nets import Closed, Fusion

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.rand(3, 3, 16, 16, generator=GENERATOR)
TABLE = torch.randn(3, 2, generator=GENERATOR)
TARGET = torch.tensor([0, 3, 1])
MASKS = F.pad(torch.ones(3, 5, 4), (3, 9, 5, 6)).bool()
OTHER = torch.rand(3, 16, 16, generator=GENERATOR)
PREVIOUS = torch.rand(3, 6, 6, generator=GENERATOR)
NOT_A_NUMBER_OF_THE_MODEL = {"explanation_time"}  # seconds
SETTINGS = {
    "one_pixel_sensitivity": {"population": 8, "generations": 2},
    "faithfulness_correlation": {"num_subsets": 10},
    "completeness": {},
}


def network():
    torch.manual_seed(1)
    net = Fusion().eval()
    with torch.no_grad():  # clear decisions, which small noise does not change and one pixel may
        net.fc.weight.mul_(4.0)
    return net


def explainer_for(alias):
    return get_explainer("integrated_gradients", num_steps=6) if alias == "completeness" else get_explainer("grad_cam")


def case_of(model, explainer, rows, heatmaps):
    return Case(
        model,
        IMAGES[rows],
        TARGET[rows],
        heatmaps=heatmaps[rows],
        masks=MASKS[rows],
        regions={"object": MASKS[rows]},
        explainer=explainer,
        previous_heatmaps=PREVIOUS[rows],
        other_heatmaps={"other": OTHER[rows]},
    )


@pytest.mark.parametrize("alias", sorted(set(list_metrics()) - NOT_A_NUMBER_OF_THE_MODEL))
def test_a_batch_is_one_by_one(alias):
    net, explainer, metric = network(), explainer_for(alias), get_metric(alias, **SETTINGS.get(alias, {}))
    classifier = Classifier(net, chunk_size=2).with_extra({"table": TABLE})
    heatmaps = explainer(classifier, IMAGES, TARGET)
    found = metric.score(case_of(classifier, explainer, slice(None), heatmaps))
    singles = [
        metric.score(
            case_of(Classifier(Closed(net, TABLE[i : i + 1]), chunk_size=2), explainer, slice(i, i + 1), heatmaps)
        )
        for i in range(3)
    ]
    width = found.shape[-1]
    if found.ndim > 1:
        singles = [F.pad(one, (0, width - one.shape[-1]), value=torch.nan) for one in singles]
    assert torch.allclose(found, torch.cat(singles), rtol=1e-3, atol=2e-5, equal_nan=True)


def test_the_value_depends_on_the_row_that_belongs_to_the_image():
    net, metric = network(), get_metric("deletion_auc")
    heatmaps = get_explainer("grad_cam")(Classifier(net).with_extra({"table": TABLE}), IMAGES, TARGET)
    own, others = (
        metric.score(case_of(Classifier(net).with_extra({"table": table}), None, slice(None), heatmaps))
        for table in (TABLE, TABLE.roll(1, 0))
    )
    assert float((own - others).abs().min()) > 1e-3


def test_functionals_and_updates_take_a_bound_classifier():
    net = network()
    classifier = Classifier(net, chunk_size=2).with_extra({"table": TABLE})
    heatmaps = get_explainer("grad_cam")(classifier, IMAGES, TARGET)
    values = functional.deletion_auc(classifier, IMAGES, heatmaps, TARGET)
    metric = get_metric("deletion_auc")
    for rows in (slice(0, 2), slice(2, 3)):
        metric.update(
            model=Classifier(net).with_extra({"table": TABLE[rows]}),
            images=IMAGES[rows],
            heatmaps=heatmaps[rows],
            target=TARGET[rows],
        )
    assert torch.allclose(metric.compute(), values.mean(), atol=1e-6)
    with pytest.raises(ValueError, match="one row of `extra` per image, but got 3 rows for 2 images"):
        metric.update(model=classifier, images=IMAGES[:2], heatmaps=heatmaps[:2], target=TARGET[:2])
    with pytest.raises(ValueError, match="one row of `extra` per image, but got 1 rows for 3 images"):
        functional.deletion_auc(classifier.rows(slice(1)), IMAGES, heatmaps, TARGET)
