import pytest

from lightning_xai import GradCAM, get_explainer, list_explainers
from lightning_xai.explainers import Explainer

FAMILIES = ("cam", "controls", "gradient", "information", "perturbation", "transformer")


def test_families_cover_the_list():
    families = {name: list_explainers(name) for name in FAMILIES}
    assert sorted(alias for aliases in families.values() for alias in aliases) == list_explainers()
    assert "grad_cam_plus_plus" in families["cam"]
    assert "random_heatmap" in families["controls"]
    assert "attention_rollout" in families["transformer"]


def test_an_alias_with_settings():
    explainer = get_explainer("grad_cam", target_layer="layer4", relu=False)
    assert type(explainer) is GradCAM
    assert explainer.settings() == {"target_layer": "layer4", "relu": False}


@pytest.mark.parametrize(
    ("alias", "nearest"),
    [("gradcam", "grad_cam"), ("GradCAM", "grad_cam"), ("Grad_CAM++", "grad_cam"), ("random", "random_heatmap")],
)
def test_an_unknown_alias_gets_the_list_and_the_nearest(alias, nearest):
    expected = r"Expected `explainer` to be one of '.*, 'cam', .*'xgrad_cam', but got"
    with pytest.raises(ValueError, match=expected) as caught:
        get_explainer(alias)
    assert str(caught.value).endswith(f"but got {alias!r}. Did you mean {nearest!r}?")


def test_an_unknown_family_and_an_unknown_setting_are_said():
    with pytest.raises(ValueError, match=f"Expected `family` to be one of {str(FAMILIES)[1:-1]}, but got 'cams'"):
        list_explainers("cams")
    with pytest.raises(TypeError, match="unexpected keyword argument 'layer'"):
        get_explainer("grad_cam", layer="layer4")


def test_classes_defined_elsewhere_name_themselves():
    class MySHAPMap(Explainer):
        def explain(self, classifier, images, target):
            return images[:, 0]

    assert MySHAPMap.alias == "my_shap_map"


@pytest.mark.parametrize("alias", [alias for alias in list_explainers() if "seed" in get_explainer(alias).settings()])
@pytest.mark.parametrize("seed", [1.5, "a", None, True])
def test_a_seed_is_a_whole_number(alias, seed):
    with pytest.raises(TypeError, match="Expected `seed` to be a whole number, but got"):
        get_explainer(alias, seed=seed)
    assert get_explainer(alias, seed=-3).settings()["seed"] == -3
