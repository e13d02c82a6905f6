"""`wordgrad runs replay ID --set key=value`: what if? A new run that pays only for what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wordgrad.cli import optimize as main_job
from wordgrad.compose import Budget, Run
from wordgrad.errors import UsageError
from wordgrad.store import runs as kept
from wordgrad.store.runs import default_path
from wordgrad.train import config as configs
from wordgrad.train.build import plan_of, rebuilt
from wordgrad.train.config import Config
from wordgrad.train.job import Job
from wordgrad.train.plan import Later

_LATER = (
    "search.steps",
    "search.candidates",
    "search.compressions",
    "search.momentum",
    "search.strategy",
    "accept.margin",
)
"""What may change between two steps."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A run, and what is to be otherwise from one of its steps on."""

    record: kept.Record
    settings: Mapping[str, Any]
    """Of the run."""
    step: int
    changes: Mapping[str, Any]
    """By key, as "accept.alpha"."""
    openings: Sequence[Mapping[str, Any]]
    """What the run noted of what a row takes."""


def branch_off(
    branch: Branch, *, budget: Mapping[str, float | None], store: Path | None, as_json: bool, yes: bool
) -> None:
    """Make the new run; the limits of the configuration hold where none are given.

    Raises:
        UsageError: The run has no such step, or what is set cannot change there.
    """
    row, settings = branch.record.run, branch.settings
    if "branch_of" in settings:
        raise UsageError(f"run {row.id} is a branch of {settings['branch_of']}: branch that one")
    fixed = [key for key in branch.changes if key.startswith("variables.")]
    if fixed:
        raise UsageError(f"--set {fixed[0]}: a branch begins with the run's own texts; change the file, and run anew")
    # A compression is what a search ends with: no step comes after it.
    made = sum(not step["compression"] for step in branch.record.steps)
    if branch.step > made + 1:
        raise UsageError(f"run {row.id} made {made} steps: branch from one of them, or the next")
    if branch.step > 1:
        wrong = [key for key in branch.changes if key not in _LATER]
        if wrong:
            raise UsageError(
                f"--set {wrong[0]}: between two steps only {', '.join(_LATER)} can change; leave --from-step out"
            )
    steps = branch.changes.get("search.steps")
    if isinstance(steps, int) and steps < branch.step - 1:
        raise UsageError(
            f"--set search.steps={steps}: a branch from step {branch.step} keeps the {branch.step - 1} before it"
        )
    new = {**settings, "branch_of": row.id, "write": False}
    if branch.step == 1:
        new["changes"] = {**settings["changes"], **branch.changes}
    else:
        new["later"] = {"step": branch.step, "changes": dict(branch.changes)}
    config = _config(new, new["changes"])
    new["budget"] = main_job.limits(config, budget)
    console = main_job.screen_console(as_json=as_json)
    starts = branch.record.starts
    job = rebuilt(config, starts, engine_of=main_job.engines(config, settings["engine"]), seed=row.seed)
    job, later = branched(job, new), later_of(new, job)
    job.require_proof()
    main_job.require_weights(config, settings["engine"], console, yes=yes)
    path = store or default_path()
    limits = Budget(**new["budget"])
    options = {"cache": new.get("cache", False), "replies_of": row.id}
    with Run(path, seed=row.seed, budget=limits, name=f"{row.name}, branch", settings=new, **options) as run:
        for opening in branch.openings[:1]:  # its own replies cost nothing
            run.note("opening", opening)
        main_job.finish(
            run, job, config, console=console, seed=row.seed, write=False, as_json=as_json, store=store, later=later
        )


def branched(job: Job, settings: Mapping[str, Any]) -> Job:
    """The job; that of a branch knows that its sealed rows have been looked at."""
    return replace(job, seen_before="branch_of" in settings)


def later_of(settings: Mapping[str, Any], job: Job) -> Later | None:
    """The other plan that a branch has for its last steps; None for a run that is no such branch."""
    later = settings.get("later")
    if later is None:
        return None
    config = _config(settings, {**settings["changes"], **later["changes"]})
    return Later(
        step=later["step"],
        plan=plan_of(config, critic=job.plan.critic, rewriter=job.plan.rewriter),
        margin=config.accept.margin,
    )


def _config(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> Config:
    return configs.parse(settings["source"], Path(settings["config"]), changes)
