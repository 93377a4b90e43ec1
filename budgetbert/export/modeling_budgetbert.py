"""Encoders of budgetbert that `transformers` has no architecture for, crammed-BERT among them, in PyTorch.

This file stands beside the weights of an export and needs `torch` and `transformers` alone:

    AutoModelForMaskedLM.from_pretrained(FOLDER, trust_remote_code=True)

runs it; or import it from the folder and call `BudgetBertForMaskedLM.from_pretrained(FOLDER)`. For inference and for
training with a loss of your own: it has no dropout.
"""

import torch
from torch import nn
from torch.nn import functional
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, MaskedLMOutput, SequenceClassifierOutput


class BudgetBertConfig(PretrainedConfig):
    """The architecture, in the terms of `budgetbert.BertBudget`."""

    model_type = "budgetbert"

    def __init__(
        self,
        vocab_size=32768,
        hidden_size=768,
        num_hidden_layers=16,
        num_attention_heads=12,
        intermediate_size=3072,
        max_position_embeddings=512,
        type_vocab_size=0,
        norm_placement="pre",
        norm="layer_norm",
        norm_epsilon=1e-12,
        use_bias=False,
        activation="gelu",
        gated=True,
        embedding_norm=True,
        final_norm=True,
        head_transform=False,
        output_bias=False,
        pooler_size=1024,
        **kwargs,
    ):
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.intermediate_size = intermediate_size
        self.max_position_embeddings = max_position_embeddings
        self.type_vocab_size = type_vocab_size
        self.norm_placement = norm_placement
        self.norm = norm
        self.norm_epsilon = norm_epsilon
        self.use_bias = use_bias
        self.activation = activation
        self.gated = gated
        self.embedding_norm = embedding_norm
        self.final_norm = final_norm
        self.head_transform = head_transform
        self.output_bias = output_bias
        self.pooler_size = pooler_size
        super().__init__(**kwargs)


def _norm(config):
    make = nn.RMSNorm if config.norm == "rms_norm" else nn.LayerNorm
    return make(config.hidden_size, eps=config.norm_epsilon)


def _gelu(x, config):
    return functional.gelu(x, approximate="none" if config.activation == "gelu" else "tanh")


class Block(nn.Module):
    """Self-attention over one fused kernel [q | k | v], and a feed-forward network, gated or not."""

    def __init__(self, config):
        super().__init__()
        width, bias = config.hidden_size, config.use_bias
        self.config = config
        self.attention_norm, self.feed_forward_norm = _norm(config), _norm(config)
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.attention_output = nn.Linear(width, width, bias=bias)
        self.intermediate = nn.Linear(width, config.intermediate_size, bias=bias)
        inner = config.intermediate_size // 2 if config.gated else config.intermediate_size
        self.output = nn.Linear(inner, width, bias=bias)

    def attend(self, x, mask):
        batch, length, width = x.shape
        heads = self.config.num_attention_heads
        query, key, value = (
            part.reshape(batch, length, heads, width // heads).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1)
        )
        x = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.attention_output(x.transpose(1, 2).reshape(batch, length, width))

    def feed_forward(self, x):
        x = self.intermediate(x)
        if not self.config.gated:
            return self.output(_gelu(x, self.config))
        x, gate = x.chunk(2, dim=-1)
        return self.output(x * _gelu(gate, self.config))

    def forward(self, x, mask=None):
        if self.config.norm_placement == "pre":
            x = x + self.attend(self.attention_norm(x), mask)
            return x + self.feed_forward(self.feed_forward_norm(x))
        x = self.attention_norm(x + self.attend(x, mask))
        return self.feed_forward_norm(x + self.feed_forward(x))


class _BudgetBert(PreTrainedModel):
    """What the encoder and its two tasks share: the weights have the same names in all of them."""

    config_class = BudgetBertConfig
    base_model_prefix = ""

    def __init__(self, config):
        super().__init__(config)
        self.tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        # crammed-BERT's scaled sinusoid, multiplied out
        self.positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.segments = nn.Embedding(config.type_vocab_size, config.hidden_size) if config.type_vocab_size else None
        self.embedding_norm = _norm(config) if config.embedding_norm else nn.Identity()
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.final_norm = _norm(config) if config.final_norm else nn.Identity()

    def get_input_embeddings(self):
        return self.tokens

    def encode(self, input_ids, attention_mask=None, token_type_ids=None):
        x = self.tokens(input_ids) + self.positions.weight[: input_ids.shape[1]]
        if self.segments is not None:
            x = x + self.segments(torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids)
        x = self.embedding_norm(x)
        mask = None if attention_mask is None else attention_mask.bool()[:, None, None, :]
        for block in self.blocks:
            x = block(x, mask)
        return self.final_norm(x)


class BudgetBertModel(_BudgetBert):
    """The encoder alone: hidden states `[batch, length, hidden_size]`."""

    def __init__(self, config):
        super().__init__(config)
        self.post_init()

    def forward(self, input_ids, attention_mask=None, token_type_ids=None, **kwargs):
        return BaseModelOutput(last_hidden_state=self.encode(input_ids, attention_mask, token_type_ids))


class BudgetBertForMaskedLM(_BudgetBert):
    """Logits `[batch, length, vocab_size]` through the token table in reverse."""

    def __init__(self, config):
        super().__init__(config)
        self.transform = self.transform_norm = None
        if config.head_transform:
            self.transform = nn.Linear(config.hidden_size, config.hidden_size, bias=config.use_bias)
            self.transform_norm = _norm(config)
        self.output_bias = nn.Parameter(torch.zeros(config.vocab_size)) if config.output_bias else None
        self.post_init()

    def forward(self, input_ids, attention_mask=None, token_type_ids=None, **kwargs):
        x = self.encode(input_ids, attention_mask, token_type_ids)
        if self.transform is not None:
            x = self.transform_norm(_gelu(self.transform(x), self.config))
        return MaskedLMOutput(logits=functional.linear(x, self.tokens.weight, self.output_bias))


class BudgetBertForSequenceClassification(_BudgetBert):
    """Logits `[batch, num_labels]` from the first token through a tanh pooler."""

    def __init__(self, config):
        super().__init__(config)
        self.pooler = nn.Linear(config.hidden_size, config.pooler_size)
        self.classifier = nn.Linear(config.pooler_size, config.num_labels)
        self.post_init()

    def forward(self, input_ids, attention_mask=None, token_type_ids=None, **kwargs):
        first = self.encode(input_ids, attention_mask, token_type_ids)[:, 0]
        return SequenceClassifierOutput(logits=self.classifier(torch.tanh(self.pooler(first))))
