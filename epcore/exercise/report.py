"""A diagnosis as text for a person: every wrong gradient, what is wrong with it, in which cases it is and in which not."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from epcore.exercise.diagnose import Diagnosis, Finding

_WIDTH = 100
_PRINTED = 2000  # characters of what the code printed


def report(diagnosis: Diagnosis) -> str:
    """Without the last line's end."""
    op, cases = diagnosis.op, diagnosis.cases
    printed = diagnosis.printed.rstrip()
    if len(printed) > _PRINTED:
        printed = printed[:_PRINTED] + f"\n... ({len(printed) - _PRINTED} characters more)"
    before = [f"your code printed:\n{printed}", ""] if printed else []
    if not diagnosis.findings:
        return "\n".join([*before, f"right: all gradients of {op}, in {len(cases)} cases"])
    lines = [f"not yet: {op}"]
    for finding in diagnosis.findings:
        lines += _finding(finding, cases)
    if diagnosis.right:
        lines.append(f"  right: {_gradients(diagnosis.right)}")
    return "\n".join([*before, *lines])


def _finding(finding: Finding, cases: Sequence[str]) -> list[str]:
    who = _gradients(finding.inputs) if finding.inputs else "backward"
    everywhere = len(finding.cases) == len(cases) or not finding.right
    where = "" if everywhere else f" (wrong in {len(finding.cases)} of {len(finding.cases) + len(finding.right)} cases"
    where += f", those {finding.clause})" if finding.clause and not everywhere else ")" if where else ""
    lines = wrap(f"{who}{where}: {finding.text}", _WIDTH, initial_indent="  ", subsequent_indent="      ")
    if not everywhere:
        lines += _list("wrong in", finding.cases) + _list("right in", finding.right)
    elif len(finding.cases) < len(cases):
        lines += _list("in", finding.cases)
    return lines


def _list(what: str, labels: Sequence[str]) -> list[str]:
    return wrap(f"{what}: {'; '.join(labels)}", _WIDTH, initial_indent="      ", subsequent_indent="          ")


def _gradients(names: Sequence[str]) -> str:
    found = [f"d{name}" for name in names]
    return found[0] if len(found) == 1 else ", ".join(found[:-1]) + f" and {found[-1]}"
