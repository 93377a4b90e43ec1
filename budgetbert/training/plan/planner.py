"""How a plan is made: the batch, the micro-batch and the speed of each phase, measured on this device."""

import dataclasses
import math
import time

from budgetbert.hardware import is_accelerated
from budgetbert.training.plan import batch, calibration, memory
from budgetbert.training.plan.calibration import Speed
from budgetbert.training.plan.memory import DoesNotFit
from budgetbert.training.plan.plan import Plan
from budgetbert.training.recipe import describe_schedule


class Planner:
    """Measures the phases of a run and chooses what they are trained with.

    Args:
        phases: list of `RunPhase`.
        options: `Options`.
        step: `Step` of the run.
        device: `Device`.
        devices: `Devices`.
    """

    def __init__(self, phases, options, step, device, devices):
        self.phases, self.options = phases, options
        self.step, self.device, self.devices = step, device, devices

    def plan(self):
        """Returns a list of the `Plan` of each phase."""
        batch_size, reason, speeds = self._choose_batch_size()
        return [
            self._make(phase, phase.batch_size_after(batch_size), reason, speed)
            for phase, speed in zip(self.phases, speeds, strict=True)
        ]

    def plan_again(self, plans):
        """Returns the plans for the same batches, micro-batches and validation rows, with the speed measured anew."""
        again = []
        for phase, old in zip(self.phases, plans, strict=True):
            speed = self._calibrate(phase, old.micro_batch_size, old.batch_size)
            plan = self._make(phase, old.batch_size, "as before", speed)
            again.append(dataclasses.replace(plan, validation_rows=old.validation_rows))
        return again

    def _choose_batch_size(self):
        """Returns the batch of the first phase, why it was chosen, and the `Speed` of each phase."""
        asked = self.options.batch_size
        batches = [asked and phase.batch_size_after(asked) for phase in self.phases]
        speeds = [
            self._calibrate(phase, phase.micro_batch_size_for(rows), rows)
            for phase, rows in zip(self.phases, batches, strict=True)
        ]
        if asked:
            return asked, "as asked for", speeds

        def steps_at(size):
            both = zip(self.phases, speeds, strict=True)
            return sum(_buys(phase, phase.batch_size_after(size), speed)[0] for phase, speed in both)

        published = self.phases[0].phase.batch_size
        batch_size, reason = batch.choose_batch_size(self.options.budget, published, steps_at)
        batch.check_batch_sizes(batch_size, self.options.micro_batch_size)
        for i, phase in enumerate(self.phases):
            rows = phase.batch_size_after(batch_size)
            if rows % speeds[i].micro_batch_size:
                speeds[i] = self._calibrate(phase, None if i == 0 else phase.micro_batch_size_for(rows), rows)
        return batch_size, reason, speeds

    def _calibrate(self, phase, micro_batch_size, batch_size):
        """Returns the `Speed` at a micro-batch size, or at the best that suits the devices and divides the batch.

        Where no micro-batch that is worth it fits, and `--remat` leaves that open, blocks are computed again in the
        backward pass.
        """
        self.devices.check_rows(batch_size, "a batch")
        self.devices.check_rows(micro_batch_size, "a micro-batch")
        began, wanted = time.monotonic(), self.options.remat
        self.step.remat = wanted == "on"
        try:
            speed = self._measure(phase, micro_batch_size, batch_size, open_to_remat=wanted == "auto")
            return dataclasses.replace(speed, remat="as asked for" if wanted == "on" else "")
        except DoesNotFit as error:
            if wanted != "auto":
                mend = ", or give --remat on" if wanted == "off" else ""
                raise DoesNotFit(f"{str(error).removesuffix('.')}{mend}.") from error
        self.step.remat = True
        speed = self._measure(phase, micro_batch_size, batch_size)
        return dataclasses.replace(speed, remat="micro-batches do not fit otherwise", seconds=time.monotonic() - began)

    def _measure(self, phase, micro_batch_size, batch_size, open_to_remat=False):
        """As `_calibrate`, with `step.remat` as it is; raises `DoesNotFit` in all processes or in none."""
        devices, broadcast = self.devices, self.devices.processes.broadcast
        asked_for = bool(micro_batch_size and self.options.micro_batch_size)
        # The processes must try the same sizes. On an accelerator what does not fit is an error that can be told.
        available = None if is_accelerated() else broadcast(memory.available())
        if available and (asked_for or open_to_remat):
            rows = micro_batch_size // devices.count if asked_for else 1
            memory.check_rows(rows, self.step, *phase.row_shape, available)
        if micro_batch_size:
            least = micro_batch_size if open_to_remat else 1
            sizes = calibration.Sizes(micro_batch_size, micro_batch_size, batch_size, asked_for, least=least)
        else:
            limit = (batch_size or phase.phase.batch_size) // devices.count  # rows of one device
            if available:
                limit = min(limit, memory.most_rows(self.step, *phase.row_shape, available / devices.count))
            if self.options.batch_ramp and is_accelerated():
                limit //= 16  # The ramp goes in micro-batches, Cramming's in 16 of them.
            limit = broadcast(max(1, limit))
            row_flops = max(phase.flops_at_points) * phase.sequence_length
            rate, rows = self.device.matmul_rate / devices.count, batch_size and batch_size // devices.count
            sizes = calibration.choose_sizes(row_flops, rate, limit, phase.sequence_length, rows)
            sizes = dataclasses.replace(sizes, least=sizes.least if open_to_remat else 1).times(devices.count)
        rows, held_out = phase.training_rows(phase.predictions), phase.validation_rows()
        speed = calibration.calibrate(self.step, rows, held_out, sizes, broadcast=broadcast)
        return Speed.from_json(broadcast(dataclasses.asdict(speed)))

    def _make(self, phase, batch_size, reason, speed):
        """Returns the `Plan` of a phase with a batch size."""
        config, *row = phase.row_shape
        self.step.remat = bool(speed.remat)
        held = memory.estimate(self.step, config, speed.micro_batch_size // self.devices.count, *row)
        if speed.memory[0]:
            held = held.with_total(*speed.memory)
        steps, tokens, flops = _buys(phase, batch_size, speed)
        length = phase.computed_length(batch_size, speed.micro_batch_size)
        step_seconds = length / phase.sequence_length * speed.step_seconds(batch_size)
        step_tokens = batch_size * length
        seconds = tokens / step_tokens * step_seconds / batch.TRAINING_SHARE
        a_second = max(1, round(calibration.CALL_SECONDS / speed.micro_batch_seconds))
        learning_rate, schedule = phase.rates_at(batch_size)
        return Plan(
            batch_size=batch_size,
            micro_batch_size=speed.micro_batch_size,
            micro_batches_per_call=min(calibration.CALL_CAPACITY, batch_size // speed.micro_batch_size, a_second),
            sequence_length=phase.sequence_length,
            predictions_per_row=phase.predictions,
            validation_rows=batch.validation_rows(len(phase.corpus.rows("validation")), phase.budget, speed),
            batch_reason=reason,
            batch_ramp=self.options.batch_ramp,
            mask_rate=self.options.given["mask_rate"],
            learning_rate=learning_rate,
            schedule=describe_schedule(schedule),
            flops_per_token=max(phase.flops_at_points),
            steps=int(steps),
            tokens=tokens,
            flops=flops,
            seconds=phase.budget.amount if phase.budget.unit == "seconds" else seconds,
            epochs=tokens / length / len(phase.corpus.rows("train")),
            validation_unigram_entropy=phase.corpus.validation_unigram_entropy,
            speed=speed,
            memory=held,
        )


def _buys(phase, batch_size, speed):
    """Returns steps, tokens and FLOPs that the share of a phase buys at a batch size and a `Speed`.

    Of rows that are binned by their lengths a token is taken to cost what one of a full row does, though attention over
    shorter rows costs less.
    """
    micro = math.gcd(batch_size, speed.micro_batch_size)
    length = phase.computed_length(batch_size, micro)
    share = length / phase.sequence_length
    return batch.buys(
        phase.budget,
        lambda x: phase.batch_at(x, batch_size, micro),
        length,
        phase.flops_at,
        lambda rows: share * speed.step_seconds(rows),
    )
