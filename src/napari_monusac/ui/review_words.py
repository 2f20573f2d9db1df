"""Words that explain what Review counts. One place: lists, legends and tables say the same."""

from __future__ import annotations

from collections.abc import Mapping

#: Why "missed" is another number in the list of errors, in the difference map and in the scores.
COUNTING_SHORT = "Scores count merged and split as missed and spurious."
COUNTING = (
    "The list of errors names each fault once, with all nuclei that take part. The difference map counts the further "
    "nuclei of a merge as missed, and the further pieces of a split as spurious. Scores pair nuclei at IoU above 0.5: "
    "merged, split and loose-edged ones without such a partner are missed and spurious there, and per class a wrong class "
    "counts as one missed and one spurious."
)
SCORED = "Spurious and missed: no partner at IoU above 0.5, so merged and split ones too; per class a wrong class is one of each."
PQ = "PQ (panoptic quality) = SQ × DQ: how well matched nuclei fit, times how many are matched. 1 is perfect, 0 none."

#: What the columns of tables mean, by their title.
TIPS: Mapping[str, str] = {
    "PQ": PQ,
    "F1": "Detection F1: 2 × found / (labelled + predicted); found: centres within 3 µm",
    "Nuclei": "Labelled nuclei",
    "Patients": "Patients with crops of this organ",
}
#: Verdicts for a narrow column.
VERDICTS: Mapping[str, str] = {
    "truth right": "truth", "model right": "model", "both wrong": "neither", "ambiguous": "ambig.",
}  # fmt: skip


def short_verdict(verdict: str) -> str:
    """A verdict for a narrow column."""
    return VERDICTS.get(verdict, verdict)


def judged_words(verdict: str | None) -> str:
    """What stands in the row of an error that was judged: a tick and the verdict; empty without one."""
    return f"✓ {short_verdict(verdict)}" if verdict else ""
