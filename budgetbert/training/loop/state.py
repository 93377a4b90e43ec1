"""What a run is at: everything that a resume needs beside the arrays of model and optimizer."""

import dataclasses
import math

from budgetbert.budget import Progress
from budgetbert.errors import InputError
from budgetbert.training.loop.guards import ROLLBACKS, LossGuard
from budgetbert.training.run.record import KINDS


@dataclasses.dataclass
class TrainState:
    """Everything that a resume needs; `state.json` of a checkpoint holds it. The loop and its hooks change it in place.

    It has more than ten fields since a resume needs them all, and nothing else may be asked for them.

    Args:
        progress: `Progress` up to the last applied step.
        phase: int. The number of the present phase, from 0. Defaults to 0.
        micro_batches: int. Micro-batches used since the run's start; dropout is a function of it. Defaults to 0.
        seconds: dict of the seconds spent so far by kind. Defaults to none.
        durations: dict of the longest validation, sampling, save and call so far, in seconds. Defaults to none.
        guard: `LossGuard`.
        validations: list of dict, the results of the validations with `step` and `phase`, their steps rising.
        passed: int. How many of the points of validation the last one had passed. Defaults to -1: none.
        marked: float or `None`. The share of the budget up to which `--marks` have been looked at. Defaults to `None`:
            it is not known, as of a state that an earlier version saved; see `Marks.begin`.
        verdict: str or `None`. `"early_stop"` where the run was given up.
        step: dict or `None`. The `state` of the `Step` at the last save: seeds, loss scale, divisor.
        last: dict or `None`. What the last step did, its scalars still on the device; it is not saved.

    Example:
        >>> state = TrainState(Progress(step=3, phase_rows=(24,)), seconds={"compile": 1.5})
        >>> TrainState.from_json(state.to_json()).progress.step
        3
    """

    progress: Progress
    phase: int = 0
    micro_batches: int = 0
    seconds: dict = dataclasses.field(default_factory=dict)
    durations: dict = dataclasses.field(default_factory=dict)
    guard: LossGuard = dataclasses.field(default_factory=LossGuard)
    validations: list = dataclasses.field(default_factory=list)
    passed: int = -1
    marked: float | None = None
    verdict: str | None = None
    step: dict | None = None
    last: dict | None = None

    def __post_init__(self):
        self.seconds = {**dict.fromkeys(KINDS, 0.0), **self.seconds}

    def to_json(self):
        """Returns a dict that JSON can hold."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "last"}
        return {**values, "progress": dataclasses.asdict(self.progress), "guard": self.guard.state}

    @classmethod
    def from_json(cls, values, guard=None):
        """Returns the `TrainState` that `to_json` gave; a `LossGuard` of another margin takes over its state."""
        guard = guard or LossGuard()
        guard.load(values["guard"])
        progress = Progress(**{**values["progress"], "phase_rows": tuple(values["progress"]["phase_rows"])})
        values = {"marked": None, **values}
        names = [field.name for field in dataclasses.fields(cls) if field.name not in ("progress", "guard", "last")]
        return cls(progress=progress, guard=guard, **{name: values[name] for name in names})

    def go_back(self, saved):
        """Goes back to the step of a saved state (a `TrainState`); what was spent since then stays spent."""
        self.guard.roll_back(saved.guard.state)
        self.progress = dataclasses.replace(self.progress, step=saved.progress.step)
        self.phase = saved.phase
        self.validations = [line for line in self.validations if line["step"] <= self.progress.step]


def check_state(step, values):
    """Raises an exception where the state (dict) of a run at a step lacks something, or has something of another kind.

    Raises:
        InputError: if an earlier version wrote it.
    """
    if "update" in values and "validations" not in values:
        raise InputError(
            "the checkpoints of this run are of an earlier version, which kept less in them: finish the run with that "
            "version, or start anew in another --output_dir."
        )
    if set(values["progress"]) != {field.name for field in dataclasses.fields(Progress)}:
        raise ValueError("state.json lacks a part of its progress")
    state = TrainState.from_json(values)
    progress = state.progress
    counts = (progress.step, progress.rows, progress.tokens, *progress.phase_rows, state.micro_batches, state.phase)
    amounts = (progress.flops, progress.seconds, *state.seconds.values(), *state.durations.values())
    amounts += () if state.marked is None else (state.marked,)
    kinds = all(isinstance(count, int) and count >= 0 for count in counts)
    kinds = kinds and all(isinstance(amount, int | float) and 0 <= amount < math.inf for amount in amounts)
    kinds = kinds and all({"step", "phase", "validation_loss"} <= set(line) for line in state.validations)
    if not kinds or not isinstance(state.passed, int) or state.verdict not in (None, "early_stop"):
        raise ValueError("state.json has a number that cannot be")
    if progress.step != step or state.phase >= len(progress.phase_rows):
        raise ValueError("state.json is that of another step")
    if not {"seeds", "loss_scale"} <= set(state.step):
        raise KeyError("step")
    # A checkpoint of an earlier version has none: see `BaseStep.load`.
    divisor = state.step.get("loss_divisor")
    if divisor is not None and not (isinstance(divisor, int | float) and 1 <= divisor < math.inf):
        raise ValueError(f"state.json divides the loss by {divisor!r:.50}")


def resume(state, step, checkpoints, run, begin=lambda state: None):
    """Takes up a run where its newest checkpoint left it, or at its start where there is none.

    Args:
        state: `TrainState` of a run that starts.
        step: `Step`, which takes over the checkpoint's state.
        checkpoints: `Checkpoints`.
        run: `Run`, whose log is made ready to go on.
        begin: function of the state, called where there is no checkpoint yet. Defaults to doing nothing.

    Returns:
        `TrainState`.
    """
    saved = checkpoints.restore(check=check_state)
    if saved:
        state = TrainState.from_json(saved, state.guard)
        step.load(state.step)
    else:
        begin(state)
    run.resume_log(state.progress.step if saved else None)
    return state


def begin_with(initial, step, checkpoints, resets_step, state):
    """Carries over from an `InitialRun` what one phase of a run carries over to the next.

    Args:
        initial: `InitialRun`.
        step, checkpoints, state: as for `resume`.
        resets_step: bool. Whether the phase sets the optimizer's step and the loss scale back.
    """
    saved = initial.load(checkpoints)
    # Dropout is a function of the number of the micro-batch, which goes on counting.
    state.micro_batches = saved["micro_batches"]
    # A run in another precision has a loss scale, or has none.
    same_precision = (saved["step"]["loss_scale"] is None) == (step.scale_state is None)
    step.load(saved["step"] if same_precision else {**saved["step"], "loss_scale": step.scale_state})
    if resets_step:
        step.reset_step()


def roll_back(trouble, state, log, checkpoints, step, save):
    """Goes back to the last checkpoint from before the trouble; the rows that led into it are not read again.

    Args:
        trouble: `Diverged`.
        state, log, checkpoints, step: as for the hooks.
        save: `Save`.

    Returns:
        bool, whether it did: a run that went back three times already is given up.
    """
    if state.guard.rollbacks == ROLLBACKS:
        log.incident(state, "diverged", f"{trouble}, after {ROLLBACKS} rollbacks")
        return False
    wrong, rows = state.progress.step, state.progress.rows
    saved = TrainState.from_json(checkpoints.restore(before=state.guard.first_wrong(wrong)))
    step.load(saved.step)
    report_corrupt(state, log, checkpoints)
    state.go_back(saved)
    left_out = f"rows {saved.progress.rows:,} to {rows:,} are left out"
    log.incident(
        state, "rollback", f"{trouble} at step {wrong:,}; went back to step {saved.progress.step:,}, {left_out}"
    )
    save.now(state, wait=True)
    return True


def report_corrupt(state, log, checkpoints):
    """Logs what `Checkpoints.restore` found corrupt."""
    while checkpoints.corrupt:
        log.incident(state, "corrupt_checkpoint", checkpoints.corrupt.pop(0))
