"""Whether localization errors are those that the paper on Grad-CAM printed."""

from __future__ import annotations

from collections.abc import Mapping

from lightning_xai.studies.claim import Verdict
from lightning_xai.studies.declaration import folder_of
from lightning_xai.studies.findings import Findings
from lightning_xai.studies.judging.means import mean_of
from lightning_xai.studies.judging.verdict import Within, outcome_of
from lightning_xai.studies.reporting.printed import read_printed

_TOLERANCE = 1.0  # percent


def within_one_percent(
    findings: Findings, part: str, words: Mapping[str, str], metrics: Mapping[str, str], explainer: str = "grad_cam"
) -> Verdict:
    """Judge that errors (in percent, 100 − 100 · accuracy) lie within one of the numbers of the paper on Grad-CAM.

    Args:
        findings: Of the study.
        part: The comparison.
        words: Network -> the paper's name for it.
        metrics: Metric of accuracy -> the column of the printed numbers.
        explainer: Whose errors.
    """
    printed = read_printed(folder_of("grad_cam_reevaluation") / "printed.csv")["table_1_original"]
    table, judged, said = findings.part(part), [], []
    for setting in table.settings:
        for metric, column in metrics.items():
            found = mean_of("", table, [setting], explainer, metric, is_share=True)
            name, original = words[setting.model], printed[words[setting.model], column].value
            judged.append(Within(found, 1 - (original + _TOLERANCE) / 100, 1 - (original - _TOLERANCE) / 100))
            half = 50 * (found.high - found.low)
            said.append(f"{name}, {column}: {100 - 100 * found.value:.2f} ± {half:.2f} to {original:.2f}")
    return Verdict(outcome_of(judged), "; ".join(said))
