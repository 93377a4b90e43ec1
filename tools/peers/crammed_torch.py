"""crammed-BERT in PyTorch, written for speed: what ours has to be as fast as.

The head runs on the masked tokens alone, attention is PyTorch's fused one, queries, keys and values come from one
matrix, and so do the two halves of the gated feed-forward network; compiled, it leaves little to be gained without
kernels of one's own. The names of the parameters are those of `budgetbert/models/modeling_budgetbert.py`.

Source: Geiping & Goldstein 2022, the architecture of `crammed_base` in `budgetbert/presets.py`.
"""

import torch
from torch import nn
from torch.nn import functional


class CrammedBert(nn.Module):
    """The masked-LM model, with its loss.

    Args:
        config: dict, the configuration of a crammed preset.
        compute_dtype: `torch.dtype` of the hidden states between the blocks, so that under autocast they are not
            widened to the table's float32. Defaults to `torch.float32`.
    """

    def __init__(self, config, compute_dtype=torch.float32):
        super().__init__()
        width, self.compute_dtype = config["hidden_dim"], compute_dtype
        self.tokens = nn.Embedding(config["vocabulary_size"], width)
        self.position_scale = nn.Parameter(torch.tensor(width**-0.5))
        self.register_buffer("sinusoid", sinusoid(config["max_sequence_length"], width), persistent=False)
        self.embedding_norm = nn.LayerNorm(width, eps=1e-12)
        self.blocks = nn.ModuleList(
            Block(width, config["num_heads"], config["intermediate_dim"]) for _ in range(config["num_layers"])
        )
        self.final_norm = nn.LayerNorm(width, eps=1e-12)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, token_ids, mask_positions, labels, weights):
        """Returns the mean cross-entropy, in float32, over the masked tokens; arguments as `Masking` returns them."""
        x = self.tokens(token_ids) + self.position_scale * self.sinusoid[: token_ids.shape[1]]
        x = self.embedding_norm(x).to(self.compute_dtype)
        for block in self.blocks:
            x = block(x)
        x = x.gather(1, mask_positions[:, :, None].expand(-1, -1, x.shape[-1]))
        logits = functional.linear(self.final_norm(x), self.tokens.weight).float()
        losses = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        return (losses * weights.flatten()).sum() / weights.sum()


class Block(nn.Module):
    """Pre-norm attention and gated feed-forward, no biases."""

    def __init__(self, width, heads, intermediate):
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width, eps=1e-12)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.attention_output = nn.Linear(width, width, bias=False)
        self.feed_forward_norm = nn.LayerNorm(width, eps=1e-12)
        self.intermediate = nn.Linear(width, intermediate, bias=False)
        self.output = nn.Linear(intermediate // 2, width, bias=False)

    def forward(self, x):
        batch, length, width = x.shape
        parts = self.qkv(self.attention_norm(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(*parts)
        x = x + self.attention_output(attended.transpose(1, 2).reshape(batch, length, width))
        values, gate = self.intermediate(self.feed_forward_norm(x)).chunk(2, dim=-1)
        return x + self.output(values * functional.gelu(gate))


def sinusoid(length, width):
    """Returns float32 `[length, width]`: `[p, 2i] = sin(p / 10000^(2i / width))`, `[p, 2i + 1] = cos` of the same."""
    angle = torch.arange(length)[:, None] * 10000.0 ** (-torch.arange(0, width, 2) / width)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)
