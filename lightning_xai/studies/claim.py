"""Claims of a paper, and what the numbers found here say about each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from lightning_xai._checks import check_choice
from lightning_xai.comparison.models import imported
from lightning_xai.studies.findings import Findings

Outcome: TypeAlias = Literal["supported", "contradicted", "undecided"]


@dataclass(frozen=True)
class Verdict:
    """What the numbers say about a claim.

    Attributes:
        outcome: ``"supported"`` or ``"contradicted"`` where the errors of the numbers allow no other; else
            ``"undecided"``.
        why: The numbers.
    """

    outcome: Outcome
    why: str


Predicate: TypeAlias = Callable[..., Verdict]


@dataclass(frozen=True)
class Claim:
    """A sentence of a paper that numbers can support or contradict.

    Attributes:
        name: Such as ``C001.3``.
        says: The claim, in words of ours.
        lines: Where the paper says it.
        predicate: Name of one of `predicates`, or the path of a function ``(findings, **arguments) -> Verdict``.
        arguments: Of the predicate.
        note: What has to be known beside, such as an error of the paper.
    """

    name: str
    says: str
    predicate: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    lines: str = ""
    note: str = ""

    @property
    def parts(self) -> frozenset[str]:
        """Names of the parts and analyses that it reads."""
        named = [self.arguments.get("part"), self.arguments.get("analysis"), *self.arguments.get("parts", ())]
        return frozenset(name for name in named if name)

    def judged(self, findings: Findings) -> Verdict:
        """Return the verdict; undecided, with the reason, where numbers are missing."""
        known = {*findings.parts, *findings.analyses}
        missing = sorted(self.parts - known)
        if missing:
            return Verdict("undecided", f"{', '.join(missing)} was not run")
        return self.function(findings, **self.arguments)

    @property
    def function(self) -> Predicate:
        """What judges it.

        Raises:
            ValueError: If there is no such predicate.
        """
        from lightning_xai.studies.judging.predicates import PREDICATES

        if "." in self.predicate:
            found: Predicate = imported(self.predicate)
            return found
        check_choice(self.predicate, tuple(PREDICATES), "predicate")
        return PREDICATES[self.predicate]
