"""What a Hugging Face user types in the first hour with exports of a masked-LM and of a classifier.

    python tests/first_hour/hugging_face_user.py EXPORT_OF_A_MASKED_LM EXPORT_OF_A_CLASSIFIER FOLDER

The two are made by `recipes/export_model.py --format transformers`. Nothing of budgetbert is imported.
"""

import importlib.util
import sys

import torch
import transformers
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    pipeline,
)

masked, classified, folder = sys.argv[1:]
trust = {"trust_remote_code": True}

tokenizer = AutoTokenizer.from_pretrained(masked)
fill = pipeline("fill-mask", model=AutoModelForMaskedLM.from_pretrained(masked, **trust), tokenizer=tokenizer)
print([guess["token_str"] for guess in fill("the cat sees a [MASK] in the garden.")])

classifier = AutoModelForSequenceClassification.from_pretrained(classified, **trust)
judge = pipeline("text-classification", model=classifier, tokenizer=AutoTokenizer.from_pretrained(classified))
print(judge(["the cat sees a bird.", "a dog draws the king."]))
assert set(classifier.config.label2id) == {"cat", "dog"}

batch = tokenizer(["the cat", "a dog follows the old king"], padding=True, return_tensors="pt")
encoder = AutoModel.from_pretrained(masked, **trust).eval()
print("embeddings", tuple(encoder(**batch).last_hidden_state.mean(1).shape))
tagger = AutoModelForTokenClassification.from_pretrained(masked, num_labels=3, **trust)
print("tags", tuple(tagger(**batch).logits.shape))
states = encoder(**batch, output_hidden_states=True).hidden_states
assert len(states) == encoder.config.num_hidden_layers + 1

# Finetuning by the Trainer, or, where accelerate is missing, by a loop of PyTorch.
texts, labels = ["the cat sees a bird.", "a dog draws the king."] * 16, [0, 1] * 16
model = AutoModelForSequenceClassification.from_pretrained(masked, num_labels=2, **trust)
rows = [{**tokenizer(text), "labels": label} for text, label in zip(texts, labels, strict=True)]
if importlib.util.find_spec("accelerate"):
    options = {"max_steps": 10, "report_to": [], "use_cpu": True, "learning_rate": 1e-3, "disable_tqdm": True}
    trainer = transformers.Trainer(
        model=model,
        args=transformers.TrainingArguments(folder, **options),
        train_dataset=rows,
        processing_class=tokenizer,
    )
    print("loss", trainer.train().training_loss)
    trainer.save_model(f"{folder}/finetuned")
else:
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    collate = transformers.DataCollatorWithPadding(tokenizer)
    for _ in range(10):
        loss = model(**collate(rows)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    print("loss", float(loss))
    model.save_pretrained(f"{folder}/finetuned")
    tokenizer.save_pretrained(f"{folder}/finetuned")

# What was saved loads again, with the same answers.
again = AutoModelForSequenceClassification.from_pretrained(f"{folder}/finetuned", **trust).eval()
torch.testing.assert_close(again(**batch).logits, model.eval()(**batch).logits)
assert AutoTokenizer.from_pretrained(f"{folder}/finetuned")(texts[0]) == tokenizer(texts[0])

if importlib.util.find_spec("sentence_transformers"):
    from sentence_transformers import SentenceTransformer

    embedder = SentenceTransformer(masked, trust_remote_code=True, device="cpu")
    print("sentences", embedder.encode(texts[:2]).shape)
print("the hour is over")
