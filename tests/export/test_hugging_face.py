import numpy as np
import pytest
from keras import ops

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from budgetbert.models import BertBudgetMaskedLM  # noqa: E402
from budgetbert.models.hugging_face import from_transformers, to_transformers  # noqa: E402

SIZES = {
    "vocab_size": 128,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 256,
    "max_position_embeddings": 32,
}
POSITIONS = np.tile(np.arange(20, dtype="int32"), (3, 1))


def hf_model(model_type, **kwargs):
    """A random model whose biases and norms are not trivial."""
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(model_type, **{**SIZES, **kwargs})
    model = transformers.AutoModelForMaskedLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def padded_batch():
    rng = np.random.default_rng(0)
    mask = np.ones((3, 20), "int32")
    mask[1, 12:] = 0
    mask[2, 3:] = 0
    segments = (np.arange(20) > 7).astype("int32") * mask
    return {
        "token_ids": rng.integers(0, 128, (3, 20)).astype("int32"),
        "padding_mask": mask,
        "segment_ids": segments.astype("int32"),
    }


def hf_outputs(model, inputs):
    names = {"token_ids": "input_ids", "padding_mask": "attention_mask", "segment_ids": "token_type_ids"}
    with torch.no_grad():
        outputs = model(
            **{names[key]: torch.tensor(value, dtype=torch.long) for key, value in inputs.items()},
            output_hidden_states=True,
        )
    return outputs.hidden_states[-1].numpy(), outputs.logits.numpy()


each_type = pytest.mark.parametrize("model_type", ["bert", "megatron-bert"])


@each_type
@pytest.mark.parametrize("activation", ["gelu", "gelu_new"])
def test_hidden_states_and_logits_equal_those_of_transformers(model_type, activation):
    peer = hf_model(model_type, hidden_act=activation)
    ours, inputs = from_transformers(peer), padded_batch()
    hidden, logits = hf_outputs(peer, inputs)
    tokens = inputs["padding_mask"] == 1
    our_hidden = ops.convert_to_numpy(ours.backbone(inputs))
    our_logits = ops.convert_to_numpy(ours({**inputs, "mask_positions": POSITIONS}))
    np.testing.assert_allclose(our_hidden[tokens], hidden[tokens], atol=1e-4)
    np.testing.assert_allclose(our_logits[tokens], logits[tokens], atol=1e-4)


@each_type
def test_weights_survive_the_way_there_and_back(model_type):
    peer = hf_model(model_type)
    back = to_transformers(from_transformers(peer))
    assert type(back) is type(peer)
    state = back.state_dict()
    for name, value in peer.state_dict().items():
        assert torch.equal(state[name], value), name
    for key in (*SIZES, "layer_norm_eps", "hidden_act", "type_vocab_size", "hidden_dropout_prob"):
        assert getattr(back.config, key) == getattr(peer.config, key)


def test_24hbert_without_output_bias_is_exported_with_zeros():
    model = BertBudgetMaskedLM.from_preset("tiny_24h", load_weights=False, vocabulary_size=128)
    peer, inputs = to_transformers(model), padded_batch()
    assert type(peer).__name__ == "MegatronBertForMaskedLM"
    assert not peer.cls.predictions.bias.any()
    _, logits = hf_outputs(peer, inputs)
    tokens = inputs["padding_mask"] == 1
    ours = ops.convert_to_numpy(model({**inputs, "mask_positions": POSITIONS}))
    np.testing.assert_allclose(ours[tokens], logits[tokens], atol=1e-4)


def test_crammed_bert_has_no_peer():
    model = BertBudgetMaskedLM.from_preset("tiny_crammed", load_weights=False, vocabulary_size=128)
    with pytest.raises(ValueError, match="no architecture for this model"):
        to_transformers(model)


def test_what_cannot_be_imported_is_named():
    with pytest.raises(ValueError, match="activation 'relu'"):
        from_transformers(hf_model("bert", hidden_act="relu"))
    with pytest.raises(ValueError, match="untied"):
        from_transformers(hf_model("bert", tie_word_embeddings=False))
    config = transformers.BertConfig(**SIZES)
    with pytest.raises(ValueError, match="BertForMultipleChoice is not one of"):
        from_transformers(transformers.BertForMultipleChoice(config))
