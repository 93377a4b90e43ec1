"""The encoder's layers: multi-backend, serialisable, safe in bfloat16."""

from budgetbert.layers.attention import SelfAttention
from budgetbert.layers.dense import Dense
from budgetbert.layers.dropout import Dropout
from budgetbert.layers.embedding import EmbeddingTable, EncoderEmbedding
from budgetbert.layers.encoder_block import EncoderBlock
from budgetbert.layers.feed_forward import FeedForward
from budgetbert.layers.masked_lm_head import MaskedLMHead
from budgetbert.layers.next_sentence_head import NextSentenceHead
from budgetbert.layers.normalization import LayerNormalization, RMSNormalization

__all__ = [
    "Dense",
    "Dropout",
    "EmbeddingTable",
    "EncoderBlock",
    "EncoderEmbedding",
    "FeedForward",
    "LayerNormalization",
    "MaskedLMHead",
    "NextSentenceHead",
    "RMSNormalization",
    "SelfAttention",
]
