"""Encoders of budgetbert that `transformers` has no architecture for, crammed-BERT among them, in PyTorch.

This file stands beside the weights of an export and needs `torch` and `transformers` alone:

    AutoModelForMaskedLM.from_pretrained(FOLDER, trust_remote_code=True)

runs it; or import it from the folder and call `BudgetBertForMaskedLM.from_pretrained(FOLDER)`. `AutoModel`, and
`AutoModelFor` with `SequenceClassification`, `TokenClassification` or `QuestionAnswering`, load the same folder; a head
that the folder has no weights for starts at random.
"""

import torch
from torch import nn
from torch.nn import functional
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import (
    BaseModelOutput,
    MaskedLMOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)


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
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.1,
        classifier_dropout=None,
        initializer_range=0.02,
        rotary_base=None,
        tie_word_embeddings=True,
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
        self.hidden_dropout_prob = hidden_dropout_prob
        self.attention_probs_dropout_prob = attention_probs_dropout_prob
        self.classifier_dropout = hidden_dropout_prob if classifier_dropout is None else classifier_dropout
        self.initializer_range = initializer_range
        self.rotary_base = rotary_base  # Without one positions are a table that is added to the tokens.
        super().__init__(tie_word_embeddings=tie_word_embeddings, **kwargs)


def _norm(config):
    make = nn.RMSNorm if config.norm == "rms_norm" else nn.LayerNorm
    return make(config.hidden_size, eps=config.norm_epsilon)


def _gelu(x, config):
    return functional.gelu(x, approximate="none" if config.activation == "gelu" else "tanh")


def _rotation(position_ids, config):
    """Cosines and sines `[batch or 1, 1, length, width of a head]` of rotary positions (Su et al. 2021, RoFormer)."""
    width = config.hidden_size // config.num_attention_heads
    powers = torch.arange(0, width, 2, device=position_ids.device, dtype=torch.float32) / width
    angles = position_ids[:, None, :, None].float() / config.rotary_base**powers
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def _rotated(x, rotation):
    """Queries or keys `[batch, heads, length, width of a head]`, turned by their positions."""
    cos, sin = (part.to(x.dtype) for part in rotation)
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


class Block(GradientCheckpointingLayer):
    """Self-attention over one fused kernel [q | k | v], and a feed-forward network, gated or not.

    Returns the hidden states `[batch, length, hidden_size]`, and the attention probabilities
    `[batch, heads, length, length]`, which are `None` unless they are asked for or `attn_implementation="eager"`.
    """

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
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def attend(self, x, mask, output_attentions, rotation):
        batch, length, width = x.shape
        heads = self.config.num_attention_heads
        query, key, value = (
            part.reshape(batch, length, heads, width // heads).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1)
        )
        if rotation is not None:
            query, key = _rotated(query, rotation), _rotated(key, rotation)
        dropout = self.config.attention_probs_dropout_prob if self.training else 0.0
        probabilities = None
        if output_attentions or self.config._attn_implementation == "eager":
            scores = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5
            probabilities = torch.softmax(scores if mask is None else scores + mask, dim=-1)
            x = functional.dropout(probabilities, dropout) @ value
        else:
            x = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
        return self.attention_output(x.transpose(1, 2).reshape(batch, length, width)), probabilities

    def feed_forward(self, x):
        x = self.intermediate(x)
        if not self.config.gated:
            return self.output(_gelu(x, self.config))
        x, gate = x.chunk(2, dim=-1)
        return self.output(x * _gelu(gate, self.config))

    def forward(self, x, mask=None, output_attentions=False, rotation=None):
        pre = self.config.norm_placement == "pre"
        attended, probabilities = self.attend(self.attention_norm(x) if pre else x, mask, output_attentions, rotation)
        x = x + self.dropout(attended)
        if pre:
            return x + self.dropout(self.feed_forward(self.feed_forward_norm(x))), probabilities
        x = self.attention_norm(x)
        return self.feed_forward_norm(x + self.dropout(self.feed_forward(x))), probabilities


class _BudgetBert(PreTrainedModel):
    """What `transformers` asks of the encoder and of each of its tasks."""

    config_class = BudgetBertConfig
    base_model_prefix = "budgetbert"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ["Block"]

    def chosen(self, option, value):
        """The value of an option of `forward`, by default that of the config."""
        return getattr(self.config, option) if value is None else value


class BudgetBertModel(_BudgetBert):
    """The encoder alone: hidden states `[batch, length, hidden_size]`.

    The last of all hidden states is what the heads see; the first is the embedding.
    """

    def __init__(self, config):
        super().__init__(config)
        self.tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        # Crammed-BERT's scaled sinusoid is multiplied out here.
        rotary = config.rotary_base is not None
        self.positions = None if rotary else nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.segments = nn.Embedding(config.type_vocab_size, config.hidden_size) if config.type_vocab_size else None
        self.embedding_norm = _norm(config) if config.embedding_norm else nn.Identity()
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.final_norm = _norm(config) if config.final_norm else nn.Identity()
        self.post_init()

    def get_input_embeddings(self):
        return self.tokens

    def set_input_embeddings(self, value):
        self.tokens = value

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        token_type_ids=None,
        position_ids=None,
        inputs_embeds=None,
        output_attentions=None,
        output_hidden_states=None,
        return_dict=None,
    ):
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Give either input_ids or inputs_embeds.")
        with_states = self.chosen("output_hidden_states", output_hidden_states)
        with_attentions = self.chosen("output_attentions", output_attentions)
        x = self.tokens(input_ids) if inputs_embeds is None else inputs_embeds
        position_ids = self.checked(position_ids, x)
        rotation = None if self.config.rotary_base is None else _rotation(position_ids, self.config)
        x = self.embed(x, token_type_ids, position_ids)
        mask = _additive(attention_mask, x)
        states, attentions = [], []
        for block in self.blocks:
            states.append(x)
            x, probabilities = block(x, mask, with_attentions, rotation)
            attentions.append(probabilities)
        x = self.final_norm(x)
        output = BaseModelOutput(
            last_hidden_state=x,
            hidden_states=(*states, x) if with_states else None,
            attentions=tuple(attentions) if with_attentions else None,
        )
        return output if self.chosen("return_dict", return_dict) else output.to_tuple()

    def checked(self, position_ids, x):
        """The positions that were given, or those from 0 on, of rows that are no longer than the model's."""
        length = x.shape[1]
        if position_ids is not None:
            return position_ids
        if length > self.config.max_position_embeddings:
            raise ValueError(
                f"Rows of {length} tokens are longer than the model's {self.config.max_position_embeddings} "
                "positions: let the tokenizer cut them with truncation=True."
            )
        return torch.arange(length, device=x.device)[None]

    def embed(self, x, token_type_ids, position_ids):
        if self.positions is not None:
            x = x + self.positions(position_ids)
        if self.segments is not None:
            if token_type_ids is None:
                token_type_ids = torch.zeros(x.shape[:2], dtype=torch.long, device=x.device)
            x = x + self.segments(token_type_ids)
        return self.dropout(self.embedding_norm(x))


def _additive(attention_mask, x):
    """A mask `[batch, length]` or `[batch, length, length]` of 0 and 1 as what is added to the attention's scores."""
    if attention_mask is None:
        return None
    if attention_mask.dim() not in (2, 3):
        raise ValueError(f"attention_mask has {attention_mask.dim()} axes: give [batch, length] or one row per token.")
    kept = attention_mask[:, None, None] if attention_mask.dim() == 2 else attention_mask[:, None]
    return (1.0 - kept.to(x.dtype)) * torch.finfo(x.dtype).min


class _Task(_BudgetBert):
    """The encoder under a head. A task has an `output_class`, and says what its logits and its loss are."""

    def __init__(self, config):
        super().__init__(config)
        self.budgetbert = BudgetBertModel(config)

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        token_type_ids=None,
        position_ids=None,
        inputs_embeds=None,
        labels=None,
        output_attentions=None,
        output_hidden_states=None,
        return_dict=None,
    ):
        inputs = (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds)
        encoded = self.budgetbert(*inputs, output_attentions, output_hidden_states, return_dict=True)
        logits = self.logits_of(encoded.last_hidden_state)
        output = self.output_class(
            loss=None if labels is None else self.loss_of(logits, labels),
            logits=logits,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
        )
        return output if self.chosen("return_dict", return_dict) else output.to_tuple()

    def loss_of(self, logits, labels):
        return functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1).long())


class BudgetBertForMaskedLM(_Task):
    """Logits `[batch, length, vocab_size]` through the token table in reverse; labels of -100 do not count."""

    output_class = MaskedLMOutput
    _tied_weights_keys = {"decoder.weight": "budgetbert.tokens.weight"}

    def __init__(self, config):
        super().__init__(config)
        self.transform = self.transform_norm = None
        if config.head_transform:
            self.transform = nn.Linear(config.hidden_size, config.hidden_size, bias=config.use_bias)
            self.transform_norm = _norm(config)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size, bias=config.output_bias)
        self.post_init()

    def get_output_embeddings(self):
        return self.decoder

    def set_output_embeddings(self, value):
        self.decoder = value

    def logits_of(self, x):
        if self.transform is not None:
            x = self.transform_norm(_gelu(self.transform(x), self.config))
        return self.decoder(x)


class BudgetBertForSequenceClassification(_Task):
    """Logits `[batch, num_labels]` from the first token through a tanh pooler.

    The loss is that of `config.problem_type`, which by default follows from labels and classes as in `transformers`:
    regression of one label, integers as classes, floats as several labels at once.
    """

    output_class = SequenceClassifierOutput

    def __init__(self, config):
        super().__init__(config)
        self.pooler = nn.Linear(config.hidden_size, config.pooler_size)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.pooler_size, config.num_labels)
        self.post_init()

    def logits_of(self, x):
        return self.classifier(self.dropout(torch.tanh(self.pooler(x[:, 0]))))

    def loss_of(self, logits, labels):
        if self.config.problem_type is None:
            integers = labels.dtype in (torch.long, torch.int)
            several = "single_label_classification" if integers else "multi_label_classification"
            self.config.problem_type = "regression" if self.config.num_labels == 1 else several
        if self.config.problem_type == "regression":
            return functional.mse_loss(logits.squeeze(), labels.squeeze().to(logits.dtype))
        if self.config.problem_type == "single_label_classification":
            return super().loss_of(logits, labels)
        return functional.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))


class BudgetBertForTokenClassification(_Task):
    """Logits `[batch, length, num_labels]`; labels of -100 do not count."""

    output_class = TokenClassifierOutput

    def __init__(self, config):
        super().__init__(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        # Another name than the sequence classifier's head, whose weights mean something else.
        self.token_classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def logits_of(self, x):
        return self.token_classifier(self.dropout(x))


class BudgetBertForQuestionAnswering(_BudgetBert):
    """Logits of an answer's first and last token, each `[batch, length]`; positions outside of the row do not count."""

    def __init__(self, config):
        super().__init__(config)
        self.budgetbert = BudgetBertModel(config)
        self.qa_outputs = nn.Linear(config.hidden_size, 2)
        self.post_init()

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        token_type_ids=None,
        position_ids=None,
        inputs_embeds=None,
        start_positions=None,
        end_positions=None,
        output_attentions=None,
        output_hidden_states=None,
        return_dict=None,
    ):
        inputs = (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds)
        encoded = self.budgetbert(*inputs, output_attentions, output_hidden_states, return_dict=True)
        starts, ends = self.qa_outputs(encoded.last_hidden_state).unbind(-1)
        loss = None
        if start_positions is not None and end_positions is not None:
            losses = [
                functional.cross_entropy(
                    logits, places.reshape(-1).clamp(0, logits.shape[1]), ignore_index=logits.shape[1]
                )
                for logits, places in ((starts, start_positions), (ends, end_positions))
            ]
            loss = sum(losses) / 2
        output = QuestionAnsweringModelOutput(
            loss=loss,
            start_logits=starts,
            end_logits=ends,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
        )
        return output if self.chosen("return_dict", return_dict) else output.to_tuple()
