"""Some images of a part of a study, explained by hand: for what a comparison does not keep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from lightning_xai.comparison.cell import NO_TRANSFORM
from lightning_xai.comparison.models import loaded_model
from lightning_xai.evidence.case import Case
from lightning_xai.explainers.explainer import Explainer
from lightning_xai.model.classifier import Classifier
from lightning_xai.model.images_per_forward import images_at_once
from lightning_xai.model.preserve import preserved
from lightning_xai.studies.analysis import AnalysisContext


@dataclass(frozen=True)
class ExplainedImages:
    """The first images of a network's data, with their predicted classes explained.

    Attributes:
        network: Name of the network.
        module: The network, in evaluation mode.
        cases: Name of the explainer -> images and heatmaps.
        ids: What a reader knows the images by.
    """

    network: str
    module: nn.Module
    cases: Mapping[str, Case]
    ids: tuple[str, ...]


def explained_images(
    context: AnalysisContext, part: str, num_images: int, explainers: Mapping[str, Explainer]
) -> Iterator[ExplainedImages]:
    """Yield some images of one size of each network of a part, explained.

    Args:
        context: Of the analysis.
        part: Whose networks and images.
        num_images: At most so many.
        explainers: By name.
    """
    device = context.device or torch.device("cpu")
    for comparison in context.parts[part].comparisons(context.networks, None, device=device, progress=False):
        data = next(iter(comparison.data))
        images = comparison.task.images[data, NO_TRANSFORM]
        places = images.probe.places_by_size[0][:num_images]
        sample = images.sample(places, device)
        ids = tuple(images.probe.items[place].id or str(place) for place in places)
        for name, source in comparison.models.items():
            module = loaded_model(source).to(device).eval()
            classifier = Classifier(module, comparison.readout, chunk_size=images_at_once(sample.images))
            with preserved(module):
                target = Case(classifier, sample.images).logits.argmax(1)
                cases = {
                    title: Case(classifier, sample.images, target, heatmaps=one(classifier, sample.images, target))
                    for title, one in explainers.items()
                }
            yield ExplainedImages(name, module, cases, ids)
