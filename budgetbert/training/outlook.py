"""What a plan means: when it ends, what it costs, how far it is from what was published, what speaks against it."""

import dataclasses
import datetime

from budgetbert.budget import describe
from budgetbert.flops import block_weights
from budgetbert.models.presets import PRESETS

# Tokens (rows x their length) that the published runs read. 24hBERT: 8 Titan-V in 24 h. Cramming: an A6000 in 24 h at
# 105,000 tokens/s. LAMB: its published steps of 65,536 rows of 128 and 32,768 rows of 512.
PUBLISHED_TOKENS = {
    "academic_24h": 12.1e9,
    "cramming_24h": 9.1e9,
    "lamb_76min": 7038 * 65536 * 128 + 1561 * 32768 * 512,
}
# Tokens per weight of the blocks' matrices under which a smaller model is advised. The rule is ours: Hoffmann et al.
# 2022 (Chinchilla) find 20 tokens per parameter best for language models at a given compute. A masked-LM learns from
# some 15 % of its tokens, so that it bears more: 24hBERT had 40, Cramming 96. Embeddings are left out, since they cost
# no compute and would weigh four times the blocks of a small model.
ENOUGH_TOKENS_PER_WEIGHT = 20
# Up to here repeated text is nearly as good as new: Muennighoff et al. 2023, "Scaling Data-Constrained Language
# Models".
GOOD_EPOCHS = 4
_FAMILIES = (  # the presets of each, largest first
    ("bert_large", "bert_base", "mini_bert", "tiny_bert"),
    ("bert_large_24h", "mini_24h", "tiny_24h"),
    ("crammed_base", "mini_crammed", "tiny_crammed"),
)


def look_ahead(plan, recipe, preset, budget, flops_of):
    """Returns a `Plan` with what follows from its numbers: tokens per weight, a preset that fits, the published tokens.

    Args:
        plan: `Plan`.
        recipe: str. Its name.
        preset: str.
        budget: `Budget`.
        flops_of: function of the name of a preset that returns its training FLOPs per token.
    """
    weights = {name: block_weights(PRESETS[name]["backbone"]) for name in _family(preset)}

    def per_weight(name):
        # a budget in steps or tokens buys the same tokens of any model, one in time or FLOPs more of a smaller
        more = flops_of(preset) / flops_of(name) if budget.unit in ("seconds", "flops") else 1.0
        return more * plan.tokens / weights[name]

    fitting = next((name for name in weights if per_weight(name) >= ENOUGH_TOKENS_PER_WEIGHT), None)
    smaller_fits = fitting is not None and weights[fitting] < weights[preset]
    return dataclasses.replace(
        plan,
        tokens_per_weight=per_weight(preset),
        fitting_preset=fitting if smaller_fits else None,
        published_tokens=PUBLISHED_TOKENS.get(recipe),
    )


def from_now(plan, spent_seconds, price_per_hour, now=None):
    """Returns a `Plan` with the time at which it ends and its whole cost.

    Args:
        plan: `Plan`.
        spent_seconds: float. What earlier processes of the run have spent.
        price_per_hour: float or `None`.
        now: `datetime.datetime`. Defaults to now.
    """
    now = now or datetime.datetime.now()
    finish = now + datetime.timedelta(seconds=max(0.0, plan.seconds - spent_seconds))
    times = {"planned_at": plan.planned_at or now.isoformat(timespec="seconds")}
    times["finish"] = finish.isoformat(timespec="seconds")
    return dataclasses.replace(plan, **times, cost=price_per_hour and price_per_hour * plan.seconds / 3600)


def warnings(plan, preset, budget, demo=False):
    """Returns what speaks against a plan, as a list of sentences that name the mend.

    Args:
        plan: `Plan`, as from `look_ahead`.
        preset: str.
        budget: `Budget`.
        demo: bool. Whether nobody expects a good model. Defaults to `False`.
    """
    said = []
    if plan.epochs > GOOD_EPOCHS:
        said.append(
            f"The corpus is read {plan.epochs:.1f} times. Up to {GOOD_EPOCHS} times text is nearly as good as new "
            "(Muennighoff et al. 2023), beyond that less and less: give --corpus more text, or take a smaller --budget."
        )
    elif plan.epochs > 1:
        said.append(
            f"The corpus ends before the budget: it is read {plan.epochs:.1f} times, with new masks each time. Up to "
            f"{GOOD_EPOCHS} times costs little (Muennighoff et al. 2023); a larger --corpus costs nothing."
        )
    if demo or plan.tokens_per_weight is None or plan.tokens_per_weight >= ENOUGH_TOKENS_PER_WEIGHT:
        return said
    ratio = f"{plan.tokens_per_weight:.2g} tokens per weight of its blocks"
    rule = f"under {ENOUGH_TOKENS_PER_WEIGHT} (a rule of ours; 24hBERT had 40, Cramming 96)"
    if plan.fitting_preset:
        mend = f"--preset {plan.fitting_preset} would have enough"
    else:
        smallest = _family(preset)[-1]
        mend = f"not even {smallest} would have enough" if preset != smallest else "no preset is smaller"
        times = ENOUGH_TOKENS_PER_WEIGHT / plan.tokens_per_weight
        mend += f", and {preset} needs a --budget {describe(times)} times as large"
    said.append(f"{preset} is large for {budget}: {ratio}, {rule}: {mend}.")
    return said


def _family(preset):
    return next(family for family in _FAMILIES if preset in family)
