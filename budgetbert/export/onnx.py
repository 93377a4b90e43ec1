"""A model as ONNX, for ONNX Runtime. Needs PyTorch and `onnxscript`, for 8-bit weights `onnxruntime` too."""

import contextlib
import logging
import os
import warnings

import torch

from budgetbert.export.tokenizer_file import write_tokenizer
from budgetbert.models import BertBudgetMaskedLM, BertBudgetQuestionAnswering, BertBudgetTextEmbedder
from budgetbert.models.hugging_face import to_torch
from budgetbert.models.logits import label_names, problem_type

# All operations of the model exist from opset 13 on; of those, ONNX Runtime has optimised 18 the longest.
OPSET = 18
INPUTS = ("token_ids", "padding_mask", "segment_ids")


class _OnTokens(torch.nn.Module):
    """A model of ours in PyTorch under the names of its inputs here, and with the outputs that are asked for."""

    def __init__(self, hf_model, outputs):
        super().__init__()
        self.hf_model, self.outputs = hf_model, outputs

    def forward(self, token_ids, padding_mask, segment_ids):
        outputs = self.hf_model(token_ids, padding_mask, segment_ids, output_hidden_states=True, return_dict=True)
        found = {**outputs, "hidden_states": outputs.hidden_states[-1]}
        return tuple(found[name] for name in self.outputs)


class _ToVectors(torch.nn.Module):
    """The vectors of an embedder's encoder in PyTorch."""

    def __init__(self, hf_model, pooling, normalize):
        super().__init__()
        self.hf_model, self.pooling, self.normalize = hf_model, pooling, normalize

    def forward(self, token_ids, padding_mask, segment_ids):
        hidden = self.hf_model(token_ids, padding_mask, segment_ids, return_dict=True).last_hidden_state
        if self.pooling == "first":
            vectors = hidden[:, 0]
        else:
            used = padding_mask[:, :, None].to(hidden.dtype)
            vectors = (hidden * used).sum(1) / used.sum(1).clamp(min=1.0)
        return torch.nn.functional.normalize(vectors, dim=-1) if self.normalize else vectors


def write_onnx(model, directory, weights):
    """Writes `model.onnx` and `tokenizer.json`.

    The graph takes int32 tensors `[batch, length]` of any size up to the model's positions, `token_ids`, `padding_mask`
    and `segment_ids`. It returns `logits`: `[batch, num_classes]`, before a classifier's `activation`; `[batch, length,
    tags]`, of a token classifier; or `[batch, length, vocabulary_size]` and, of a masked-LM, also `hidden_states`
    `[batch, length, width]`. A question-answering model returns `start_logits` and `end_logits`, `[batch, length]`; an
    embedder `vector` `[batch, width]`.

    Args:
        model: one of our tasks, as `BertBudgetMaskedLM`, on any backend.
        directory: string. An existing folder.
        weights: `"float32"`, or `"int8"`: kernels and tables in 8 bits, products of integers, activations quantized at
            run time.

    Returns:
        Dict of facts for `export.json`.
    """
    path, problem = os.path.join(directory, "model.onnx"), problem_type(model)
    embeds, hf_model, names = isinstance(model, BertBudgetTextEmbedder), to_torch(model), _outputs(model)
    module = _ToVectors(hf_model, model.pooling, model.normalize) if embeds else _OnTokens(hf_model, names)
    rows = torch.export.Dim("batch"), torch.export.Dim("length", max=model.backbone.max_sequence_length)
    with _quiet():
        program = torch.onnx.export(
            module.eval(),
            tuple(torch.ones(2, 7, dtype=torch.int32) for _ in INPUTS),
            input_names=INPUTS,
            output_names=names,
            dynamic_shapes=tuple(dict(enumerate(rows)) for _ in INPUTS),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
        program.save(path)
        if weights == "int8":
            _quantize(path)
    write_tokenizer(model, directory)
    facts = {"labels": label_names(model), "problem_type": problem, "pair": getattr(model, "pair", False)}
    return {"opset": OPSET, "weights": weights, "inputs": list(INPUTS), **facts}


def _outputs(model):
    """Returns the names of the graph's outputs (list of str)."""
    if isinstance(model, BertBudgetTextEmbedder):
        return ["vector"]
    if isinstance(model, BertBudgetQuestionAnswering):
        return ["start_logits", "end_logits"]
    return ["hidden_states", "logits"] if isinstance(model, BertBudgetMaskedLM) else ["logits"]


def _quantize(path):
    """Puts the weights of a graph in 8 bits, in its place."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(path, f"{path}.int8", weight_type=QuantType.QInt8)
    os.replace(f"{path}.int8", path)


@contextlib.contextmanager
def _quiet():
    """Context without what PyTorch and ONNX Runtime say of packages and versions of their own."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "root", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
