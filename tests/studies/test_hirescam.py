"""The study of Grad-CAM and HiResCAM: the thesis' own arithmetic, exact propositions, and all of it run in small."""

import math
from pathlib import Path
from statistics import mean

import pytest
import torch
import yaml
from torch import nn

from lightning_xai.comparison import Cell, Records
from lightning_xai.studies import Findings, Study
from lightning_xai.studies.declaration import folder_of
from lightning_xai.studies.hirescam import claims, tables
from lightning_xai.studies.hirescam.pictures import read_picture
from lightning_xai.studies.hirescam.signed import Signed
from lightning_xai.studies.hirescam.theory import (
    COLUMNS,
    FIRST,
    FLATTEN,
    FLATTENED,
    GAP,
    LAST,
    before_flatten,
    equalities,
)
from lightning_xai.studies.networks import conv_flatten, conv_gap, resnet_flatten
from lightning_xai.studies.reporting.printed import read_printed
from tests.studies._made import made_findings

HIGH, LOW = [0.8, 0.9, 0.7, 0.85] * 2, [0.1, 0.2, 0.15, 0.1] * 2
PRINTED = read_printed(folder_of("hirescam") / "printed.csv")
NETWORKS = [name for _, name in PRINTED["table_4"]][:8]
GRIDS = ("4×4", "8×8", "11×11", "14×14")


def test_the_numbers_of_the_thesis_fit_each_other():
    aopc, summary = PRINTED["table_5"], PRINTED["table_10"]
    for network in NETWORKS:
        for explainer in ("Grad-CAM", "HiResCAM"):
            of_grids = mean(aopc[f"{grid} · {explainer}", network].value for grid in GRIDS)
            assert summary[network, f"Mean AOPC · {explainer}"].value == pytest.approx(of_grids, abs=6e-4)
            haas = PRINTED["table_7"][f"min–max to [−1, 1] · {explainer}", network].value
            assert summary[network, f"HAAS · {explainer}"].value == haas
        assert summary[network, "Bal. Accuracy"].value == PRINTED["table_4"]["Balanced Accuracy", network].value
        assert summary[network, "Mean AUC"].value == PRINTED["table_4"]["Mean AUC", network].value
    wins = [sum(aopc[f"{g} · HiResCAM", n].value > aopc[f"{g} · Grad-CAM", n].value for n in NETWORKS) for g in GRIDS]
    assert wins == [7, 6, 5, 5]  # as the text counts them (795)
    below = [one.value < 1 for one in PRINTED["table_7"].values()]
    assert (sum(below), len(below)) == (15, 16)  # (813)


def test_maps_and_scores_that_are_equal_are_found_equal_and_others_are_not():
    torch.manual_seed(0)
    images = torch.randn(4, 1, 12, 12)
    gap = equalities(conv_gap(3, width=4).eval(), "conv3", images, with_cam=True)
    assert max(gap.of_cam, gap.of_maps, gap.of_grad_cam, gap.of_hires_cam) < 1e-5
    flat = equalities(conv_flatten(3, image_size=12, width=4).eval(), "conv3", images)
    assert flat.of_hires_cam < 1e-5 < 1e-2 < min(flat.of_grad_cam, flat.of_maps)
    residual = resnet_flatten(3, image_size=12, width=4).eval()
    assert before_flatten(residual) == "layer3"
    assert equalities(residual, "layer3", images).of_hires_cam < 1e-5
    assert equalities(residual, "layer3.conv2", images).of_hires_cam > 1e-2  # the shortcut is not in it


def test_distances_are_those_of_the_definition_by_hand():
    network = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.Flatten(), nn.Linear(4, 2))
    network[0].weight.data = torch.tensor([1.0, 2.0]).view(2, 1, 1, 1)
    network[2].weight.data = torch.tensor([[1.0, 3.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    network[2].bias.data = torch.tensor([5.0, 0.0])
    found = equalities(network, "0", torch.tensor([[[[2.0, 1.0]]]]))  # features 2, 1 and 4, 2; weights 1, 3 and 0, 1
    # HiResCAM: 2 + 0, 3 + 2, the score less the bias: 7. Grad-CAM: 2 (2, 1) + ½ (4, 2) = (6, 3), 9
    assert (found.of_hires_cam, found.of_grad_cam) == (0.0, pytest.approx(2 / 7))
    assert found.of_maps == pytest.approx(4 / 5)
    assert math.isnan(found.of_cam)
    with pytest.raises(ValueError, match="a Flatten after a layer"):
        before_flatten(nn.Sequential(nn.Conv2d(1, 1, 1)))
    assert before_flatten(nn.Sequential(nn.Sequential(nn.ReLU(), nn.Conv2d(1, 1, 1)), nn.Flatten())) == "0.1"


def theory(gap=0.0, hires=0.0, grad=0.5, dense=0.5):
    rows = (
        (GAP, "random", LAST, gap, gap, gap, gap),
        (GAP, "random", FIRST, None, 0.5, 0.5, 0.5),
        (FLATTEN, "random", LAST, None, 0.5, grad, hires),
        (FLATTEN, "conv", FLATTENED, None, 0.5, grad, hires),
        (FLATTEN, "resnet", LAST, None, 0.5, 0.5, 0.5),  # does not count: the shortcut follows
        ("Conv – GAP – dense – class scores", "random", LAST, None, dense, 0.5, 0.5),
    )
    return Findings({}, {}, {"t": Records(COLUMNS, rows)})


def test_propositions_are_judged_exactly():
    assert claims.gap_maps_are_cam(theory(gap=1e-7), "t").outcome == "supported"
    assert claims.gap_maps_are_cam(theory(gap=1e-3), "t").outcome == "contradicted"
    assert claims.hires_cam_alone_is_the_score(theory(hires=1e-7), "t").outcome == "supported"
    assert claims.hires_cam_alone_is_the_score(theory(hires=1e-3), "t").outcome == "contradicted"
    assert claims.hires_cam_alone_is_the_score(theory(grad=0.0), "t").outcome == "contradicted"
    assert claims.table_1_holds(theory(), "t").outcome == "supported"
    assert "GAP – dense" in claims.table_1_holds(theory(dense=1e-7), "t").why


def gains(*rows):
    """Return findings in which ``a`` has these values, one row per network, and ``b`` has .5 everywhere."""
    values = {}
    for place, row in enumerate(rows):
        values |= {(f"m{place}", "a"): row, (f"m{place}", "b"): [0.5] * 8}
    return made_findings(values)


def test_better_by_each_metric_never_worse_and_neither():
    few, many = gains(HIGH, LOW, LOW), gains(HIGH, HIGH, LOW)
    by_each = {"part": "p", "metric": ["sparseness"], "explainer": "a", "than": "b"}
    assert claims.exceeds_by_each(many, **by_each, share=0.625).outcome == "supported"
    assert claims.exceeds_by_each(few, **by_each, share=0.625).outcome == "contradicted"
    assert claims.never_worse(many, **by_each).outcome == "contradicted"
    assert claims.never_worse(gains(HIGH, HIGH, [0.5] * 8), **by_each).outcome == "supported"
    assert claims.never_worse(gains(HIGH, [0.5] * 8), **by_each).outcome == "undecided"
    one = {**by_each, "metric": "sparseness"}
    assert claims.favours_neither(many, **one).outcome == "supported"
    assert claims.favours_neither(gains(HIGH, HIGH), **one).outcome == "contradicted"
    assert claims.favours_neither(gains([0.5] * 8), **one).outcome == "undecided"


def test_following_the_accuracy_of_networks():
    rows = [[0.1 * place + 0.01 * image for image in range(4)] for place in range(6)]
    values = {(f"m{place}", "a"): row for place, row in enumerate(rows)}
    scores = {f"m{place}": {"balanced_accuracy": 0.5 + 0.05 * place} for place in range(6)}
    asked = {"part": "p", "metric": ["sparseness"], "explainer": "a"}
    rising = made_findings(values, scores)
    assert claims.follows_score(rising, **asked).outcome == "supported"
    assert "+1.00" in claims.follows_score(rising, **asked).why
    assert claims.follows_score(rising, **asked, positive=False).outcome == "contradicted"
    five = made_findings({place: row for place, row in values.items() if place[0] != "m5"}, scores)
    assert claims.follows_score(five, **asked).outcome == "undecided"


def test_cheapest_is_by_the_greatest_of_its_costs():
    findings = made_findings({("m", "a"): HIGH, ("m", "b"): LOW})
    other = made_findings({("m", "c"): HIGH, ("m", "d"): LOW, ("m", "e"): LOW}, metric="complexity")
    both = Findings({"p": findings.parts["p"], "q": other.parts["p"]})  # 0 and 10, 0 and 10 and 20 per image
    assert claims.cheapest(both, "p", "sparseness", ["q"], ["complexity"]).outcome == "supported"
    assert claims.cheapest(both, "q", "complexity", ["p"], ["sparseness"]).outcome == "contradicted"


def test_the_scores_and_the_extremes_of_networks():
    values = {("u-s0", "a"): HIGH, ("u-s1", "a"): LOW, ("v", "a"): LOW}
    scores = {name: {"auc": auc} for name, auc in (("u-s0", 0.9), ("u-s1", 0.7), ("v", 0.5))}
    findings = made_findings(values, scores)
    (row,) = tables.network_scores(findings, "p", {"auc": "Mean AUC"}, {"u": "U", "v": "V"}).values()
    assert (row["U"].value, row["U"].error) == (pytest.approx(0.8), pytest.approx(0.1))
    assert row["V"].value == 0.5
    found = tables.extremes(findings, "p", "sparseness", "a", {"d": "D"})
    assert found["Max HAAS Score"]["D"].value == pytest.approx(mean(HIGH))
    assert found["Mean AUC of max"]["D"].value == 0.9
    assert found["Mean AUC of min"]["D"].value == 0.7


def source(path, **arguments):
    return {"class_path": path, "init_args": arguments}


def shapes(num_images, **arguments):
    drawn = source("lightning_xai.ShapesDataset", num_images=num_images, image_size=32, difficulty="easy", **arguments)
    return source("lightning_xai.studies.hirescam.signed.Signed", data=drawn)


def tiny(folder):
    """Write the study with two small networks on few drawn shapes as its small scale."""
    declared = yaml.safe_load((folder_of("hirescam") / "study.yaml").read_text())
    small = declared["scales"]["small"]
    train, test = shapes(32), shapes(40, seed=1)
    common = {"train": train, "test": test, "epochs": [1, 2], "batch_size": 16}
    network = "lightning_xai.studies.networks."
    small["recipes"] = {
        "conv": {
            "network": source(f"{network}conv_flatten", num_classes=4, channels=3, image_size=32, width=2),
            **common,
        },
        "shape": {
            "network": source(f"{network}vgg_flatten", num_classes=4, channels=3, image_size=32, width=2),
            **common,
        },
    }
    small["recipes"]["colour"] = {**small["recipes"]["shape"], "train": shapes(32, cue="colour")}
    for part in ("maps", "normalized", "haas"):
        small["parts"][part] = {"recipes": ["conv"], "data": {"fashion": test}, "num_images": 4}
    small["parts"]["loop"]["recipes"] = ["shape", "colour"]
    small["parts"]["loop"]["data_of"] = {"shape": "shape", "colour": "colour"}
    small["parts"]["loop"]["data"] = {"shape": test, "colour": shapes(40, seed=1, cue="colour")}
    small["recipes"] |= dict.fromkeys(("sanity_true", "sanity_again", "sanity_permuted"), small["recipes"]["conv"])
    small["recipes"]["sanity_again"] = {**small["recipes"]["conv"], "seed": 7}
    small["recipes"]["sanity_permuted"] = {**small["recipes"]["conv"], "permuted_labels": True}
    small["parts"]["sanity"] = {
        "recipes": ["sanity_true", "sanity_again", "sanity_permuted"],
        "data": {"fashion": test},
        "num_images": 4,
    }
    small["analyses"]["shifted_images"]["arguments"]["networks"] = ["conv-e2"]
    small["analyses"]["pictures"]["arguments"]["networks"] = ["conv-e2"]
    made = folder / "hirescam"
    made.mkdir()
    (made / "study.yaml").write_text(yaml.safe_dump(declared, sort_keys=False))
    (made / "printed.csv").write_text((folder_of("hirescam") / "printed.csv").read_text())
    return made


def test_the_whole_study_in_small(tmp_path):
    result = Study.load(tiny(tmp_path)).run(tmp_path / "out", progress=False)
    assert not result.errors
    written = {path.name for path in result.write(tmp_path / "out").parent.iterdir()}
    assert {f"figure_{number}.png" for number in range(14, 21)} <= written
    assert {f"table_{number}.md" for number in (4, 5, 6, 7, 9, 10)} <= written
    exact = [result.verdicts[name].outcome for name in ("C001.1", "C001.2", "C001.2 Table 1", "C001.6")]
    assert exact == ["supported", "supported", "contradicted", "supported"]
    assert [row[0] for row in result.table("table_5").rows][:3] == [
        f"4×4 · {x}" for x in ("Grad-CAM", "HiResCAM", "random map")
    ]
    assert " | mean 0.501 | " in result.table("table_5")[0]["conv-e1"]
    assert " | mean 0.871 | " not in result.table("table_4")[0]["conv-e1"]
    assert set(result.table("table_9").columns) == {"", "shape tells the class", "colour tells the class"}
    loop = result.findings.parts["loop"]
    assert {(one.model.partition("-")[0], one.data) for one in loop.settings} == {
        ("shape", "shape"),
        ("colour", "colour"),
    }
    curve = result.findings.analyses["morf"].where(network="conv-e2", explainer="HiResCAM")
    assert len(curve) == 65
    case_free = result.findings.parts["maps"].estimate(result.findings.parts["maps"].settings[1], "hires_cam", "aopc_8")
    drops = [curve[0]["probability"] - row["probability"] for row in curve]
    assert mean(drops) == pytest.approx(case_free.value, abs=1e-5)  # eq. 7, from the curve that is drawn
    shifted = {row["explainer"]: row for row in result.findings.analyses["shifted_images"]}
    assert {name: row["verdict"] for name, row in shifted.items()} == {"grad_cam": "passes", "hires_cam": "passes"}
    blank = result.findings.analyses["blank_maps"]
    maps = result.findings.parts["maps"]
    cell = Cell(maps.settings[1], "grad_cam")
    zero = [not bool(one.any()) for batch in maps.behind.heatmaps(cell) for one in batch]
    assert blank[1]["grad_cam"] == sum(zero) / len(zero)
    permuted = {row["explainer"]: row for row in result.findings.analyses["permuted_labels"]}
    assert permuted["fake_cam"]["verdict"] == "fails"
    assert {"grad_cam", "hires_cam"} <= set(permuted)
    picture = read_picture(result.findings.analyses["pictures"][0]["png"])
    assert (picture.shape, picture.dtype) == ((32, 32, 3), torch.uint8)


@pytest.mark.parametrize("scale", ["small", "medium"])
def test_networks_of_a_scale(scale):
    study = Study.load("hirescam", scale)
    assert study.parts["maps"].seeds == (6 if scale == "medium" else 1)
    assert next(one.name for one in study.parts["maps"].trained()) == ("conv-e1" if scale == "small" else "conv-e1-s0")
    assert len(list(study.parts["loop"].trained())) == 16 * study.parts["loop"].seeds


def test_images_are_signed():
    (item,) = list(Signed([{"image": torch.tensor([0.25]), "id": "a"}]))[:1]
    assert item == {"image": torch.tensor([-0.5]), "id": "a"}
    assert Signed([{}]).labels is None
    assert Path(folder_of("hirescam")).name == "hirescam"
