"""Exports hold operations that servers have known for years, and cut pairs without the one that they had not."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
pytest.importorskip("tensorflow_text")

from budgetbert.export import signatures  # noqa: E402
from budgetbert.export.serving import export_serving  # noqa: E402
from budgetbert.models import BertBudgetMaskedLMPreprocessor, BertBudgetTextClassifierPreprocessor  # noqa: E402
from tests.models.examples import WORDS, tokenizer  # noqa: E402

from .models import masked  # noqa: E402

pytestmark = pytest.mark.without_backend

# Of TensorFlow itself; 2.12.1, the oldest that was tried, knows all of them.
# fmt: off
CORE = {
    "AddV2", "All", "ArgMax", "Assert", "AssignVariableOp", "BatchMatMulV2", "BroadcastTo", "Cast", "ConcatV2",
    "Const", "Cos", "Cumsum", "DisableCopyOnRead", "Einsum", "Equal", "Erf", "ExpandDims", "Fill", "GatherV2",
    "Identity", "IdentityN", "If", "Less", "LessEqual", "MatMul", "Max", "Maximum", "Mean", "MergeV2Checkpoints",
    "Minimum", "Mul", "Neg", "NoOp", "OnesLike", "Pack", "Placeholder", "Pow", "Prod", "RaggedGather",
    "RaggedRange", "RaggedTensorToTensor", "Range", "ReadVariableOp", "RealDiv", "Reshape", "RestoreV2", "Rsqrt",
    "SaveV2", "Select", "SelectV2", "Shape", "ShardedFilename", "Sin", "Size", "Softmax", "Split", "Square",
    "Squeeze", "StatefulPartitionedCall", "StaticRegexFullMatch", "StaticRegexReplace", "StridedSlice",
    "StringJoin", "StringLength", "StringLower", "StringSplitV2", "Sub", "Sum", "Tanh", "Tile", "TopKV2", "Transpose",
    "UnicodeDecode", "UnicodeEncode", "UnicodeTranscode", "Unpack", "UpperBound", "VarHandleOp", "Where",
}
# fmt: on
# Those that the tokens of checkpoints, a token classifier and a question-answering model add: TensorFlow has had them
# since 2.3 (August 2020); no server was tried.
CHECKPOINT = {"DenseBincount", "Greater"}
TAGGING = CHECKPOINT | {
    *("GatherNd", "LogicalNot", "LogicalOr", "NotEqual", "Roll", "Substr"),
    *("TensorScatterAdd", "TensorScatterUpdate", "UnsortedSegmentMax", "UnsortedSegmentSum"),
}
ANSWERING = (TAGGING - {"NotEqual", "Roll", "UnsortedSegmentMax"}) | {
    *("ArgMin", "Exp", "FloorDiv", "FloorMod", "GreaterEqual", "IsFinite", "Log", "LogicalAnd", "PadV2"),
    *("StopGradient", "TensorListFromTensor", "TensorListGetItem", "TensorListReserve", "TensorListSetItem"),
    *("TensorListStack", "While"),
}
# tensorflow_model_server links TensorFlow Text's `ops_lib`: of 2.8.2 in its release 2.11, of 2.12.1 in 2.12 to 2.19, of
# 2.20.0 in 2.20 (April 2026). All three libraries have these, with the same inputs and attributes; the first two lack
# `TFText>RoundRobinTrim`.
TEXT = {"CaseFoldUTF8", "NormalizeUTF8", "RegexSplitWithOffsets", "FastWordpieceTokenizeWithOffsets"}


def operations(version):
    """The names of all operations in a SavedModel's graph and in the functions of its library."""
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((version / "saved_model.pb").read_bytes())
    used = set()
    for meta_graph in saved.meta_graphs:
        library = meta_graph.graph_def.library.function
        nodes = [node for function in library for node in function.node_def]
        used |= {node.op for node in [*meta_graph.graph_def.node, *nodes]}
        used -= {function.signature.name for function in library}
    return used


def unknown(version):
    return sorted(operations(version) - CORE - TEXT)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["classifier", "pair", "regression", "masked_lm"])
def test_each_kind_of_export_holds_known_operations_alone(name, exports):
    version = exports[name][1] / "1"
    assert not unknown(version)
    assert b"_XlaMustCompile" not in (version / "saved_model.pb").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "weights", "of_tokenizer", "of_encoder"),
    [
        ("tiny_crammed", "int8", {"normalizer": "cramming"}, {}),
        ("tiny_frontier", "float32", {"normalizer": "checkpoint"}, {}),
        ("tiny_bert", "float16", {"lowercase": False}, {"norm": "rms_norm", "activation": "gelu_approximate"}),
    ],
)
def test_so_do_other_normalisers_weights_and_architectures(family, weights, of_tokenizer, of_encoder, tmp_path):
    preprocessor = BertBudgetMaskedLMPreprocessor(tokenizer(**of_tokenizer))
    model = masked(family, preprocessor=preprocessor, **of_encoder)
    export_serving(model, str(tmp_path), weights)
    assert set(unknown(tmp_path / "1")) == (CHECKPOINT if of_tokenizer.get("normalizer") == "checkpoint" else set())


def test_an_operation_of_a_newer_server_would_be_named(tmp_path):
    import tensorflow_text

    module = tf.Module()
    module.trim = tf.function(
        lambda rows: tensorflow_text.RoundRobinTrimmer(3).trim([rows])[0].to_tensor(),
        input_signature=[tf.RaggedTensorSpec([None, None], tf.int32)],
    )
    tf.saved_model.save(module, str(tmp_path / "1"))
    assert unknown(tmp_path / "1") == ["TFText>RoundRobinTrim"]


def in_graph(tokenizer):
    """`signatures.pack` of texts (tuple of lists) and a length, traced once for all lengths."""
    pack = tf.function(lambda length, *texts: signatures.pack(tokenizer, texts, length), autograph=False)
    return lambda texts, length: pack(tf.constant(length, tf.int64), *(tf.constant(some) for some in texts))


@pytest.mark.parametrize("pair", [False, True])
def test_rows_are_cut_as_the_preprocessor_cuts_them_in_python(pair):
    generator = np.random.default_rng(0)
    preprocessor = BertBudgetTextClassifierPreprocessor(tokenizer())
    preprocessor.build(None)
    pack = in_graph(preprocessor.tokenizer)
    for length in (4, 5, 8, 32):
        numbers = generator.integers(0, 2 * length, (1 + pair, 64))
        texts = tuple([" ".join(generator.choice(WORDS[:6], number)) for number in some] for some in numbers)
        tokens = tuple([[int(token) for token in row] for row in preprocessor.tokenizer(some)] for some in texts)
        # In Python, since the packer is given lists outside of a graph.
        token_ids, segment_ids = map(np.array, preprocessor.packer(tokens, sequence_length=length))
        row = pack(texts, length)
        width = row["token_ids"].shape[1]
        np.testing.assert_array_equal(row["token_ids"], token_ids[:, :width])
        np.testing.assert_array_equal(row["segment_ids"], segment_ids[:, :width])
        assert not token_ids[:, width:].any()


def test_two_texts_need_a_batch_of_one_size():
    with pytest.raises(tf.errors.InvalidArgumentError, match="the same number of texts"):
        in_graph(tokenizer())((["a", "b"], ["c"]), 8)
