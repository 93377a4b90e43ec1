"""What a Keras user types in the first hour with a pretrained model.

python tests/first_hour/keras_user.py runs/demo/model.keras FOLDER
"""

import sys

import keras
import numpy as np

import budgetbert
import budgetbert.models

path, folder = sys.argv[1:]
pretrained = keras.models.load_model(path)
print(pretrained.fill_mask("the cat sees a [MASK] in the garden.", k=3))
print("nats per masked token", pretrained.evaluate(["the cat sees a dog in the garden."] * 8, verbose=0)[0])

texts = [
    f"the {animal} {verb} {place}."
    for animal in ("cat", "dog")
    for verb in ("sees", "likes", "draws", "follows")
    for place in ("a bird", "the king", "our teacher", "a train")
]
labels = ["cat"] * 16 + ["dog"] * 16


def new_classifier(**kwargs):
    preprocessor = budgetbert.BertBudgetTextClassifierPreprocessor(
        pretrained.preprocessor.tokenizer, sequence_length=16
    )
    encoder = budgetbert.BertBudget.from_config(pretrained.backbone.get_config())
    encoder.set_weights(pretrained.backbone.get_weights())
    return budgetbert.BertBudgetTextClassifier(encoder, num_classes=2, preprocessor=preprocessor, **kwargs)


classifier = new_classifier(label_names=["cat", "dog"])
classifier.summary()
best = keras.callbacks.ModelCheckpoint(f"{folder}/best.keras", save_best_only=True)
history = classifier.fit(
    texts,
    labels,
    epochs=4,
    validation_data=(texts[::5], labels[::5]),
    class_weight={"cat": 1.0, "dog": 1.5},
    callbacks=[keras.callbacks.EarlyStopping(patience=10), best],
    verbose=2,
)
print("accuracy", classifier.evaluate(texts, labels, verbose=0)[1])
expected = classifier.predict(texts, verbose=0)
print("one text", classifier.label_names[classifier.predict("the dog sees a bird.", verbose=0).argmax()])

# Saved, loaded, cloned, and its weights alone.
classifier.save(f"{folder}/classifier.keras")
np.testing.assert_allclose(
    keras.models.load_model(f"{folder}/classifier.keras").predict(texts, verbose=0), expected, 1e-4, 1e-5
)
classifier.save_weights(f"{folder}/classifier.weights.h5")
twin = keras.models.clone_model(classifier)
twin.load_weights(f"{folder}/classifier.weights.h5")
classifier.save_to_preset(f"{folder}/preset")
again = budgetbert.BertBudgetTextClassifier.from_preset(f"{folder}/preset")
again.preprocessor.sequence_length = 16
np.testing.assert_allclose(again.predict(texts, verbose=0), expected, 1e-4, 1e-5)

# A frozen encoder, LoRA, and probabilities.
frozen = new_classifier(activation="softmax")
frozen.backbone.trainable = False
frozen.compile(optimizer=keras.optimizers.Adam(1e-3))
frozen.fit(np.array(texts), np.array([0] * 16 + [1] * 16), verbose=0)
np.testing.assert_allclose(frozen.predict(texts, verbose=0).sum(-1), 1.0, rtol=1e-5)
adapted = new_classifier()
adapted.backbone.enable_lora(4)
adapted.compile()
adapted.fit(texts, [0] * 16 + [1] * 16, epochs=1, verbose=0)

# Eight bits, saved and loaded.
classifier.quantize("int8")
classifier.save(f"{folder}/int8.keras")
loaded = keras.models.load_model(f"{folder}/int8.keras")
np.testing.assert_allclose(loaded.predict(texts, verbose=0), classifier.predict(texts, verbose=0), 1e-4, 1e-5)

# What is mistyped is told in one sentence.
for mistake in (
    lambda: new_classifier(droput=0.5),
    lambda: again.fit(texts, ["cat"] * 31 + ["bird"], verbose=0),
    lambda: again.predict([texts[0], float("nan")]),
):
    try:
        mistake()
    except ValueError as error:
        print("told:", error)
    else:
        raise SystemExit("A mistake was not told.")
print("the hour is over")
