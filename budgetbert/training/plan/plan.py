"""The plan: what the budget buys on this device, measured and printed before the first step."""

import dataclasses
import datetime

from budgetbert.errors import InputError
from budgetbert.training.plan.calibration import Speed
from budgetbert.training.plan.device import Device
from budgetbert.training.plan.memory import Memory

_AT_LEAST_ONE = ("batch_size", "micro_batch_size", "micro_batches_per_call", "sequence_length", "validation_rows")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a phase will do, and what it promises.

    It has more than ten fields since it is what `plan.json` says of a phase: the first five and `validation_rows`
    decide what is computed, the others say what that was chosen from and what it leads to. `steps`, `tokens`, `flops`
    and `seconds` are expectations, exact where the budget is in that unit.

    Args:
        batch_size: int. Rows of a step, after the ramp.
        micro_batch_size: int. Rows computed at once.
        micro_batches_per_call: int.
        sequence_length: int. Tokens of a row.
        predictions_per_row: int, the most there are.
        validation_rows: int. Held-out rows of each validation.
        batch_reason: str, a phrase.
        batch_ramp: float. The share over which the batch grows.
        mask_rate: str, as given.
        learning_rate: float, the peak.
        schedule: str, its curve.
        flops_per_token: float, the most there are.
        steps, tokens, flops, seconds: float. What the share of the budget buys.
        epochs: float. How often the training rows are read.
        validation_unigram_entropy: float. Of the held-out rows, in nats.
        speed: `Speed`, as measured.
        memory: `Memory` at the peak.
    """

    batch_size: int
    micro_batch_size: int
    micro_batches_per_call: int
    sequence_length: int
    predictions_per_row: int
    validation_rows: int
    batch_reason: str
    batch_ramp: float
    mask_rate: str
    learning_rate: float
    schedule: str
    flops_per_token: float
    steps: int
    tokens: float
    flops: float
    seconds: float
    epochs: float
    validation_unigram_entropy: float
    speed: Speed
    memory: Memory

    @property
    def tokens_per_second(self):
        """float. While training, with the full batch."""
        return self.batch_size * self.sequence_length / self.speed.step_seconds(self.batch_size)

    @property
    def call_seconds(self):
        """float. What one call of `accumulate` takes, which the clock cannot interrupt."""
        return self.micro_batches_per_call * self.micro_batch_size * self.sequence_length / self.tokens_per_second

    @classmethod
    def from_json(cls, values):
        """Returns the `Plan` whose fields JSON held.

        Raises:
            TypeError: if a field is missing, or of another kind.
        """
        plan = cls(**{**values, "speed": Speed.from_json(values["speed"]), "memory": Memory(**values["memory"])})
        for field in dataclasses.fields(cls):
            value = getattr(plan, field.name)
            kinds = {int: int, float: int | float, str: str}.get(field.type, object)
            if (
                isinstance(value, bool)
                or not isinstance(value, kinds)
                or (field.type is int and value < (field.name in _AT_LEAST_ONE))
            ):
                raise TypeError(f"{field.name} {value!r:.50}")
        return plan


def _total(name):
    return property(lambda self: sum(getattr(plan, name) for plan in self.phases), doc=f"`{name}` of all phases.")


@dataclasses.dataclass(frozen=True)
class RunPlan:
    """The plans of a run's phases, and what they are together.

    Args:
        device: `Device`.
        phases: tuple of `Plan`.
        planned_at: str or `None`. ISO 8601, local time. Defaults to `None`: it was not promised yet.
        finish: str or `None`. When a run ends that starts now. Defaults to `None`.
        cost: float or `None`. Of the whole run, where there is a price. Defaults to `None`.
    """

    device: Device
    phases: tuple
    planned_at: str | None = None
    finish: str | None = None
    cost: float | None = None

    steps = _total("steps")
    tokens = _total("tokens")
    flops = _total("flops")
    seconds = _total("seconds")
    epochs = _total("epochs")

    @property
    def tokens_per_second(self):
        """float. While training, over all phases."""
        return self.tokens / sum(plan.tokens / plan.tokens_per_second for plan in self.phases)

    @property
    def flops_per_token(self):
        """float. Over all phases."""
        return self.phases[0].flops_per_token if len(self.phases) == 1 else self.flops / self.tokens

    @property
    def mfu(self):
        """Model FLOPs per second over the measured rate of matrix products, of all devices; see `utilization`."""
        return self.device.utilization(self.tokens_per_second * self.flops_per_token)

    @property
    def memory(self):
        """`Memory` of the phase that takes most."""
        return max((plan.memory for plan in self.phases), key=lambda memory: memory.total)

    @property
    def calibration_seconds(self):
        """float. What measuring all phases took."""
        return sum(plan.speed.seconds for plan in self.phases)

    @property
    def compile_seconds(self):
        """float. What compiling for all phases took; it is charged to a budget in time."""
        return sum(plan.speed.compile_seconds for plan in self.phases)

    def suits(self, remat):
        """Returns whether each phase was measured as a `--remat` (`"on"`, `"off"` or `"auto"`) wants it."""
        return remat == "auto" or all(bool(plan.speed.remat) == (remat == "on") for plan in self.phases)

    def from_now(self, spent_seconds, price_per_hour, now=None):
        """Returns the plan with the time at which it ends and its whole cost.

        Args:
            spent_seconds: float. What earlier processes of the run have spent.
            price_per_hour: float or `None`.
            now: `datetime.datetime`. Defaults to now.
        """
        now = now or datetime.datetime.now()
        try:
            finish = now + datetime.timedelta(seconds=max(0.0, self.seconds - spent_seconds))
            finish = finish.isoformat(timespec="seconds")
        except OverflowError:  # That is after the year 9999.
            finish = None
        cost = price_per_hour and price_per_hour * self.seconds / 3600
        planned_at = self.planned_at or now.isoformat(timespec="seconds")
        return dataclasses.replace(self, planned_at=planned_at, finish=finish, cost=cost)

    def to_json(self):
        """Returns what `plan.json` holds: all of each phase, and for readers what they are together."""
        phases = [dataclasses.asdict(plan) for plan in self.phases]
        of_all = ("steps", "tokens", "flops", "seconds", "epochs", "tokens_per_second", "flops_per_token")
        of_all += ("calibration_seconds", "compile_seconds", "planned_at", "finish", "cost")
        first = {name: value for name, value in phases[0].items() if name not in ("speed", "memory")}
        totals = {name: getattr(self, name) for name in of_all}
        memory = dataclasses.asdict(self.memory)
        return {**first, **totals, "memory": memory, **self.device.to_json(), "phases": phases}


def read_plan(run):
    """Reads the `RunPlan` in a run's directory; `None` if there is none, or one of a version before in a run that did
    not start.

    Raises:
        InputError: if the run started with a plan that is not of this version.
    """
    values = run.read_json("plan.json")
    if values is None:
        return None
    try:
        # A version before left the list empty where there was one phase.
        phases = tuple(Plan.from_json(plan) for plan in values["phases"] or [{}])
        return RunPlan(Device.from_json(values), phases, *(values[name] for name in ("planned_at", "finish", "cost")))
    except (TypeError, KeyError, AttributeError) as error:
        if not run.started:
            return None
        raise InputError(
            f"{run.path('plan.json')} is no plan of this version: finish the run with the version that made it, or "
            "give another --output_dir."
        ) from error
