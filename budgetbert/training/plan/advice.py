"""What speaks against a plan, and how far it is from the published run. Nothing of it changes the run."""

import dataclasses

from budgetbert.budget import describe
from budgetbert.flops import block_weights
from budgetbert.presets import PRESETS

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
# From here on another reading teaches next to nothing: the same, section 5.
USELESS_EPOCHS = 40
FAMILIES = (  # The presets of each, largest first.
    ("bert_large", "bert_base", "mini_bert", "tiny_bert"),
    ("bert_large_24h", "mini_24h", "tiny_24h"),
    ("crammed_base", "mini_crammed", "tiny_crammed"),
    ("tiny_frontier",),
)


@dataclasses.dataclass(frozen=True)
class Advice:
    """How a plan's tokens compare with the size of its model.

    Args:
        tokens_per_weight: float. Tokens per weight of the blocks.
        fitting_preset: str or `None`. The largest smaller preset of the family that has enough tokens per weight.
    """

    tokens_per_weight: float
    fitting_preset: str | None


def advise(tokens, preset, budget, flops_of):
    """Returns the `Advice` on a plan.

    Args:
        tokens: float. What the plan reads.
        preset: str.
        budget: `Budget`.
        flops_of: function of the name of a preset that returns its training FLOPs per token.
    """
    weights = {name: block_weights(PRESETS[name]["backbone"]) for name in _family(preset)}

    def per_weight(name):
        # A budget in steps or tokens buys the same tokens of any model, one in time or FLOPs more of a smaller one.
        more = flops_of(preset) / flops_of(name) if budget.unit in ("seconds", "flops") else 1.0
        return more * tokens / weights[name]

    fitting = next((name for name in weights if per_weight(name) >= ENOUGH_TOKENS_PER_WEIGHT), None)
    smaller = fitting is not None and weights[fitting] < weights[preset]
    return Advice(per_weight(preset), fitting if smaller else None)


def warnings(epochs, advice, preset, budget, ends_early=False):
    """Returns what speaks against a plan, as a list of sentences that name the mend.

    Args:
        epochs: float. How often the corpus is read.
        advice: `Advice`, or `None` where nobody expects a good model.
        preset: str.
        budget: `Budget`.
        ends_early: bool. Whether the run ends where the loss of held-out text rises. Defaults to `False`.
    """
    sentences = []
    if epochs > GOOD_EPOCHS:
        beyond = "less and less" if epochs <= USELESS_EPOCHS else f"less and less, and after {USELESS_EPOCHS} nothing"
        mend = "give --corpus more text, or take a smaller --budget"
        if not ends_early:
            mend += "; --early_stop rising ends the run where held-out text gets worse, and keeps the best model"
        sentences.append(
            f"The corpus is read {epochs:.1f} times. Up to {GOOD_EPOCHS} times text is nearly as good as new "
            f"(Muennighoff et al. 2023), beyond that {beyond}: {mend}."
        )
    elif epochs > 1:
        sentences.append(
            f"The corpus ends before the budget: it is read {epochs:.1f} times, with new masks each time. Up to "
            f"{GOOD_EPOCHS} times costs little (Muennighoff et al. 2023); a larger --corpus costs nothing."
        )
    if advice is None or advice.tokens_per_weight >= ENOUGH_TOKENS_PER_WEIGHT:
        return sentences
    ratio = f"{advice.tokens_per_weight:.2g} tokens per weight of its blocks"
    rule = f"under {ENOUGH_TOKENS_PER_WEIGHT} (a rule of ours; 24hBERT had 40, Cramming 96)"
    if advice.fitting_preset:
        mend = f"--preset {advice.fitting_preset} would have enough"
    else:
        smallest = _family(preset)[-1]
        mend = f"not even {smallest} would have enough" if preset != smallest else "no preset is smaller"
        times = ENOUGH_TOKENS_PER_WEIGHT / advice.tokens_per_weight
        mend += f", and {preset} needs a --budget {describe(times)} times as large"
    return [*sentences, f"{preset} is large for {budget}: {ratio}, {rule}: {mend}."]


def _family(preset):
    return next(family for family in FAMILIES if preset in family)
