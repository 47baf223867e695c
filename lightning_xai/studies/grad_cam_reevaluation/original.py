"""Whether localization errors are those that the paper on Grad-CAM printed."""

from __future__ import annotations

from collections.abc import Mapping

from lightning_xai.studies.claim import Verdict
from lightning_xai.studies.declaration import folder_of
from lightning_xai.studies.findings import Findings
from lightning_xai.studies.reporting.printed import read_printed

_TOLERANCE = 1.0  # percent
_NORMAL = 1.959963984540054


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
    table, signs, said = findings.part(part), [], []
    for setting in table.settings:
        for metric, column in metrics.items():
            found = table.estimate(setting, explainer, metric)
            error, half = 100 - 100 * found.value, 100 * _NORMAL * found.error
            original = printed[words[setting.model], column].value
            off = abs(error - original)
            signs.append(int(off + half < _TOLERANCE) - int(off - half > _TOLERANCE))
            said.append(
                f"{words[setting.model]}, {column}: {100 - 100 * found.value:.2f} ± {half:.2f} to {original:.2f}"
            )
    if signs and min(signs) == 1:
        return Verdict("supported", "; ".join(said))
    return Verdict("contradicted" if -1 in signs else "undecided", "; ".join(said))
