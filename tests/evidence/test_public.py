"""Every kind of evidence has a public name."""

from __future__ import annotations

import ast
from pathlib import Path

from lightning_xai import evidence

FOLDER = Path(evidence.__file__).parent


def test_every_public_class_is_exported():
    defined = {
        node.name
        for path in FOLDER.rglob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    }
    parts_of_others = {"Memo", "MaskedImages", "BuildChangedImages", "Quadrature"}
    assert defined - set(dir(evidence)) == parts_of_others


def test_evidence_is_frozen_and_hashable_with_its_default_settings():
    kinds = [getattr(evidence, name) for name in dir(evidence)]
    kinds = [
        k for k in kinds if isinstance(k, type) and issubclass(k, evidence.Evidence) and k is not evidence.Evidence
    ]
    assert len(kinds) > 15
    for kind in kinds:
        if not kind.__abstractmethods__:
            assert len({kind(), kind()}) == 1
