"""Our faithfulness metrics against those of Quantus, which perturb a ranking step by step.

A heatmap is the same for all channels. Quantus ranks the values of all channels, but those of one pixel are equal, so
that steps of 3 · p values are steps of p pixels. Its baseline ``"black"`` is the least value of an image, as our
``"minimum"`` is. `heatmaps` has no ties.
"""

import numpy as np
import quantus
import torch

from lightning_xai import Classifier
from lightning_xai._randomness import content_keys, uniform
from lightning_xai.evidence.masking.masking_curve import area
from lightning_xai.functional import (
    faithfulness_correlation,
    faithfulness_estimate,
    monotonicity,
    monotonicity_correlation,
    pixel_flipping,
)
from parity._setting import COUNT, PIXELS, SIDE, close, heatmaps, images, network, target
from parity.metrics._quantus import RAW, scored

STEPS, PIXELS_PER_STEP = 24, 6
GIVEN = {"model": network(), "softmax": True}


def probability(changed=None):
    """Return the target's probability of the images, or of changed ones."""
    changed = images() if changed is None else changed
    return network()(changed).softmax(1).detach().gather(1, target(len(changed))[:, None])


def from_zero(curve: np.ndarray) -> torch.Tensor:
    """Return a curve of Quantus, which starts after the first step, with the unchanged image in front."""
    return torch.cat([probability(), torch.from_numpy(curve).float()], 1)


def test_pixel_flipping():
    """PixelFlipping(num_steps=24) = PixelFlipping(features_in_step=3 · 6): the curve, its first point added, in [0, 1].

    Both read the softmax. Quantus returns the curve; our value is its area over [0, 1].
    """
    metric = quantus.PixelFlipping(features_in_step=3 * PIXELS_PER_STEP, **RAW)
    theirs = scored(metric, images(), target(), heatmaps=heatmaps(), **GIVEN)
    assert theirs.shape == (COUNT, STEPS)
    close(pixel_flipping(network(), images(), heatmaps(), target(), num_steps=STEPS), area(from_zero(theirs)))


def test_difference_area_of_quantus_has_no_unit(monkeypatch):
    """Quantus adds up the trapezoids of width 1 between the points after the first step, so steps raise it.

    It calls ``numpy.trapz``, which NumPy 2.4 has no more.
    """
    monkeypatch.setattr(np, "trapz", np.trapezoid, raising=False)
    found = {}
    for pixels in (6, 3):
        metric = quantus.PixelFlipping(features_in_step=3 * pixels, return_auc_per_sample=True, **RAW)
        found[pixels] = torch.from_numpy(scored(metric, images(), target(), heatmaps=heatmaps(), **GIVEN))
        ours = pixel_flipping(network(), images(), heatmaps(), target(), num_steps=PIXELS // pixels)
        first = heatmaps().flatten(1).argsort(descending=True)[:, :pixels]
        low = images().amin((1, 2, 3))[:, None, None].expand(-1, 3, pixels)
        after_first = images().flatten(2).scatter(2, first[:, None].expand(-1, 3, -1), low).view_as(images())
        ends = (probability() + probability(after_first))[:, 0] / 2
        close(ours, (found[pixels] + ends) * pixels / PIXELS)
    assert (found[3] / found[6]).min() > 1.9


def test_faithfulness_estimate():
    """FaithfulnessEstimate(num_chunks=24) = FaithfulnessEstimate(features_in_step=3 · 6), both of the softmax.

    Attributions of a step are three times ours, one per channel, which a correlation does not see.
    """
    metric = quantus.FaithfulnessEstimate(features_in_step=3 * PIXELS_PER_STEP, **RAW)
    theirs = scored(metric, images(), target(), heatmaps=heatmaps(), **GIVEN)
    close(faithfulness_estimate(network(), images(), heatmaps(), target(), num_chunks=STEPS), theirs)


def test_difference_quantus_correlates_logits_unless_told_otherwise():
    metric = quantus.FaithfulnessEstimate(features_in_step=3 * PIXELS_PER_STEP, **RAW)
    of_logits = scored(metric, images(), target(), heatmaps=heatmaps(), model=network())
    ours = faithfulness_estimate(network(), images(), heatmaps(), target(), num_chunks=STEPS)
    assert np.abs(of_logits - ours.numpy()).max() > 0.05


def test_faithfulness_correlation(monkeypatch):
    """FaithfulnessCorrelation(share=0.25, grid=one cell per pixel) = FaithfulnessCorrelation(subset_size=3 · 36).

    Quantus is given our subsets: the pixels with the smallest numbers of our generator, in all channels.
    """
    keys, size = content_keys(images()), PIXELS // 4
    subsets = []
    for run in range(50):
        numbers = uniform(keys, (PIXELS,), seed=0, sample=run, purpose="subsets")
        pixels = numbers.argsort(1)[:, :size].numpy()
        subsets += [np.concatenate([row + channel * PIXELS for channel in range(3)]) for row in pixels]
    drawn = iter(subsets)
    monkeypatch.setattr(np.random, "choice", lambda *_, **__: next(drawn))
    metric = quantus.FaithfulnessCorrelation(
        nr_runs=50, subset_size=3 * size, perturb_baseline=0.0, return_aggregate=False, **RAW
    )
    theirs = scored(metric, images(), target(), heatmaps=heatmaps(), **GIVEN)
    ours = faithfulness_correlation(
        network(), images(), heatmaps(), target(), num_subsets=50, share=0.25, grid=(SIDE, SIDE)
    )
    assert next(drawn, None) is None
    close(ours, theirs)


def monotonicity_of_quantus(count: int, **others):
    metric = quantus.Monotonicity(features_in_step=3 * 48, **RAW, **others)
    return scored(metric, images(count), target(count), heatmaps=heatmaps(count), **GIVEN).astype(bool)


def revealed(arr, indices, **_):
    original = images(len(arr)).flatten(1).numpy()
    arr = arr.copy()
    np.put_along_axis(arr, indices, np.take_along_axis(original, indices, 1), 1)
    return arr


def test_monotonicity():
    """Monotonicity(num_sets=3, strict=True) = Monotonicity(features_in_step=3 · 48): does no step fall?

    Quantus is given what its name promises, a ``perturb_func`` that brings the image's own pixels back, and our step
    from the empty image to the first set, which Quantus leaves out.
    """
    count = 60
    theirs = monotonicity_of_quantus(count, perturb_func=revealed)
    low = images(count).amin((1, 2, 3), keepdim=True).expand_as(images(count))
    coldest = heatmaps(count).flatten(1).argsort(1)[:, None, :48].expand(-1, 3, -1)
    first = low.flatten(2).scatter(2, coldest, images(count).flatten(2).gather(2, coldest)).view_as(images(count))
    begins = (probability(first) >= probability(low))[:, 0].numpy()
    ours = monotonicity(network(), images(count), heatmaps(count), target(count), num_sets=3, strict=True)
    assert 0 < theirs.sum() < count
    close(ours, (theirs & begins).astype(float))


def test_no_oracle_monotonicity_of_quantus_never_changes_the_image():
    """By default it replaces the baseline by the baseline, so that every image is monotonous."""
    count = 60
    assert monotonicity_of_quantus(count).all()
    ours = monotonicity(network(), images(count), heatmaps(count), target(count), num_sets=3, strict=True)
    assert ours.mean() < 0.5


def test_monotonicity_correlation():
    """MonotonicityCorrelation(num_sets=24, num_draws=10) = MonotonicityCorrelation(features_in_step=3 · 6, abs=True).

    Quantus is given our ten draws of noise over the range of each image, again for every step.
    """
    keys, size = content_keys(images()), tuple(images().shape[1:])
    low, high = (getattr(images(), end)((1, 2, 3))[:, None] for end in ("amin", "amax"))
    draws = [uniform(keys, size, seed=0, sample=j, purpose="baseline").flatten(1) for j in range(10)]
    noise, calls = [(low + draw * (high - low)).numpy() for draw in draws], iter(range(10**6))

    def replaced(arr, indices, **_):
        arr, drawn = arr.copy(), noise[next(calls) % 10]
        np.put_along_axis(arr, indices, np.take_along_axis(drawn, indices, 1), 1)
        return arr

    signed = heatmaps() * torch.where(heatmaps(seed=5) > 0.4, 1.0, -1.0)
    settings = {**RAW, "abs": True, "nr_samples": 10, "perturb_func": replaced}
    metric = quantus.MonotonicityCorrelation(features_in_step=3 * PIXELS_PER_STEP, **settings)
    theirs = scored(metric, images(), target(), heatmaps=signed, **GIVEN)
    close(monotonicity_correlation(network(), images(), signed, target(), num_sets=STEPS, num_draws=10), theirs)
    assert next(calls) == STEPS * 10


def test_counts_of_evaluations():
    """A step costs Quantus and us one evaluation per image; ours adds the unchanged image, where Quantus does not."""
    for ours, theirs, least in [
        (pixel_flipping, quantus.PixelFlipping(features_in_step=18, **RAW), STEPS),
        (faithfulness_estimate, quantus.FaithfulnessEstimate(features_in_step=18, **RAW), STEPS + 1),
    ]:
        net, seen = network(), []
        net.register_forward_hook(lambda _, given, __, seen=seen: seen.append(len(given[0])))
        scored(theirs, images(), target(), heatmaps=heatmaps(), model=net, softmax=True)
        assert sum(seen) == COUNT * least
        classifier = Classifier(net)
        name = "num_steps" if ours is pixel_flipping else "num_chunks"
        ours(classifier, images(), heatmaps(), target(), **{name: STEPS})
        assert classifier.evaluations == COUNT * (STEPS + 1)
