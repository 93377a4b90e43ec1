"""Finetuning by transformers' Trainer and labels by its pipeline, each grouped by length: what ours is held against.

Run       python tools/peers/trainer.py train FOLDER OUTPUT TRAIN.csv BATCH RATE PRECISION
          python tools/peers/trainer.py predict FOLDER INPUT.csv OUTPUT.jsonl BATCH PRECISION
"""

import csv
import json
import sys

import torch
import transformers


def train(folder, output, path, batch, rate, precision):
    """Finetunes a classifier for one epoch and prints the seconds that the Trainer took."""
    texts, labels = read(path)
    names = sorted(set(labels))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    encoded = tokenizer(texts, truncation=True, max_length=128)["input_ids"]
    rows = [{"input_ids": ids, "labels": names.index(label)} for ids, label in zip(encoded, labels, strict=True)]
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len(names))
    settings = transformers.TrainingArguments(
        output_dir=output,
        num_train_epochs=1,
        per_device_train_batch_size=int(batch),
        learning_rate=float(rate),
        bf16=precision == "bfloat16",
        use_cpu=not torch.cuda.is_available(),
        train_sampling_strategy="group_by_length",
        save_strategy="no",
        report_to=[],
        logging_strategy="no",
        disable_tqdm=True,
    )
    collator = transformers.DataCollatorWithPadding(tokenizer)
    trainer = transformers.Trainer(model, settings, train_dataset=rows, data_collator=collator)
    seconds = trainer.train().metrics["train_runtime"]
    trainer.save_model(output)
    tokenizer.save_pretrained(output)
    print(json.dumps({"seconds": seconds, "steps": trainer.state.global_step}))


def predict(folder, path, output, batch, precision):
    """Writes the label of each text, those of similar length computed together."""
    texts, _ = read(path)
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    classify = transformers.pipeline("text-classification", folder, dtype=dtype, truncation=True, max_length=128)
    found = classify([texts[place] for place in order], batch_size=int(batch))
    by_place = dict(zip(order, found, strict=True))
    with open(output, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(by_place[place]) + "\n" for place in range(len(texts)))


def read(path):
    """Returns the texts and the labels (lists of str) of a table with these columns."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["text"] for row in rows], [row["label"] for row in rows]


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    {"train": train, "predict": predict}[sys.argv[1]](*sys.argv[2:])
