"""The encoder's layers: multi-backend, serialisable, safe in bfloat16."""

from budgetbert.layers.attention import SelfAttention
from budgetbert.layers.dense import Dense
from budgetbert.layers.dropout import Dropout
from budgetbert.layers.embedding import EmbeddingTable, EncoderEmbedding
from budgetbert.layers.encoder_block import EncoderBlock
from budgetbert.layers.feed_forward import FeedForward
from budgetbert.layers.heads import MaskedLMHead, NextSentenceHead
from budgetbert.layers.norms import LayerNormalization, RMSNormalization
from budgetbert.layers.pooling import ApartTexts, MeanPooling, PairFeatures

__all__ = [
    "ApartTexts",
    "Dense",
    "Dropout",
    "EmbeddingTable",
    "EncoderBlock",
    "EncoderEmbedding",
    "FeedForward",
    "LayerNormalization",
    "MaskedLMHead",
    "MeanPooling",
    "NextSentenceHead",
    "PairFeatures",
    "RMSNormalization",
    "SelfAttention",
]
