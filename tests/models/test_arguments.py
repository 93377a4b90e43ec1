"""No public class swallows an argument that it does not know."""

import inspect

import pytest

from budgetbert import layers, models, optimizers
from budgetbert.models import BertBudget, BertBudgetMaskedLM, BertBudgetTextClassifier

from .examples import VOCABULARY, encoder, masked_lm, tokenizer

# What the constructors need, beside numbers that any of them takes.
NEEDED = {
    "backbone": encoder,
    "tokenizer": tokenizer,
    "label_names": lambda: ["O", "B-PLACE"],
    "vocabulary": lambda: VOCABULARY,
    "token_embedding": lambda: layers.EmbeddingTable(8, 4),
    "rate": lambda: 0.1,
    "norm_placement": lambda: "post",
}
CLASSES = {
    f"{module.__name__}.{name}": value
    for module in (models, layers, optimizers)
    for name, value in vars(module).items()
    if inspect.isclass(value) and not name.startswith("_")
}


@pytest.mark.parametrize("name", CLASSES)
def test_an_unknown_argument_is_refused_by_name(name):
    cls = CLASSES[name]
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    required = [
        parameter.name
        for parameter in parameters
        if parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    given = {parameter: NEEDED.get(parameter, lambda: 4)() for parameter in required}
    with pytest.raises((ValueError, TypeError), match="droput"):
        cls(**given, droput=0.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BertBudget(8, 1, 1, 4, 4, droput=0.3), "BertBudget has no argument 'droput': did you mean 'dropout'"),
        (
            lambda: BertBudgetTextClassifier(encoder(), 2, droput=0.5),
            "BertBudgetTextClassifier has no argument 'droput': did you mean 'dropout'",
        ),
        (
            lambda: BertBudgetTextClassifier(encoder(), 2, num_layers=3),
            "'num_layers': it is one of BertBudget, the encoder",
        ),
        (lambda: BertBudgetMaskedLM(encoder(), foo=2), "'foo': it takes backbone, preprocessor, head_transform"),
        (
            lambda: BertBudgetTextClassifier.from_preset("tiny_24h", load_weights=False, num_classes=2, num_lables=3),
            "BertBudgetTextClassifier has no argument 'num_lables': did you mean 'num_layers'",
        ),
        (lambda: BertBudgetMaskedLM.from_preset("tiny_24h", load_weight=False), "did you mean 'load_weights'"),
        (lambda: BertBudget.from_preset("tiny_24h", load_weights=False, num_layer=2), "did you mean 'num_layers'"),
    ],
)
def test_the_sentence_names_what_was_meant(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_preset_folder_refuses_what_it_does_not_know(tmp_path):
    masked_lm().save_to_preset(tmp_path / "preset")
    folder = str(tmp_path / "preset")
    for cls, given in (
        (BertBudget, {}),
        (BertBudgetMaskedLM, {}),
        (BertBudgetTextClassifier, {"num_classes": 2}),
    ):
        with pytest.raises(ValueError, match=f"{cls.__name__} has no argument 'droput': did you mean 'dropout'"):
            cls.from_preset(folder, droput=0.5, **given)


def test_what_every_model_takes_is_taken():
    model = BertBudgetTextClassifier(encoder(name="mine", trainable=False), 2, name="too", compile=False)
    assert (model.backbone.name, model.name, model.compiled) == ("mine", "too", False)
    assert not model.backbone.trainable_variables
