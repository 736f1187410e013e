"""The course as text for a terminal."""

from __future__ import annotations

from textwrap import indent

from epcore.learn.course import Exercise, Stage, stages
from epcore.learn.folder import Folder
from epcore.learn.verdict import Verdict

_MOST = 6  # findings of one exercise that are shown
_PRINTED = 2000  # characters


def stage_text(stage: Stage) -> str:
    """What it is about, what to read, what it unlocks."""
    read = "\n".join(f"  {place}" for place in stage.read)
    return f"{stage.title}\n\n{stage.text}\n\nRead:\n{read}\n\nThen: {stage.unlocks}"


def exercise_text(folder: Folder, exercise: Exercise) -> str:
    """What to read, what to write and where, how to go on."""
    stage = stages()[exercise.stage]
    number = stage.exercises.index(exercise) + 1
    lines = [f"{exercise.key} ({number} of {len(stage.exercises)} in this stage)", ""]
    lines += [f"read   {place}" for place in exercise.read]
    lines += [f"write  {folder.path / exercise.file}", "", indent(exercise.write, "  "), ""]
    opened = folder.hints(exercise)
    lines += [f"hint {i}: {text}" for i, text in enumerate(opened, 1)]
    left = len(exercise.hints) - len(opened)
    lines += [f"then   epcore learn check{f'; stuck: epcore learn hint ({left} left)' if left else ''}"]
    return "\n".join(lines)


def status_text(folder: Folder) -> str:
    """A line a stage, and those exercises of open ones that have not passed."""
    lines = []
    for stage in stages().values():
        done = sum(folder.passed(exercise) for exercise in stage.exercises)
        state = "done" if folder.done(stage) else "open" if stage.name in folder.state.opened else "not opened yet"
        lines.append(f"{stage.name:<10} {done:2} of {len(stage.exercises):2}  {state:<15} {stage.title}")
        changed = [exercise.name for exercise in stage.exercises if folder.changed(exercise)]
        if changed:
            lines.append(f"           changed since they passed: {', '.join(changed)}")
    current = folder.current()
    lines += ["", f"next: {current.key}, in {folder.path / current.file}" if current else "all done"]
    return "\n".join(lines)


def verdict_text(exercise: Exercise, verdict: Verdict) -> str:
    """What was found, after what the student's code printed."""
    printed = verdict.printed.rstrip()
    cut = f"{printed[:_PRINTED]}\n... ({len(printed) - _PRINTED} characters more)" if len(printed) > _PRINTED else printed
    before = [f"your code printed:\n{indent(cut, '  | ')}"] if printed else []
    if verdict.passed:
        return "\n".join([*before, f"right: {exercise.key}", *(f"  {note}" for note in verdict.notes)])
    lines = [*before, f"not yet: {exercise.key}"]
    lines += [f"  {finding}" for finding in verdict.findings[:_MOST]]
    if len(verdict.findings) > _MOST:
        lines.append(f"  and {len(verdict.findings) - _MOST} more")
    return "\n".join([*lines, *(f"  {note}" for note in verdict.notes)])
