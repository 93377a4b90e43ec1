"""The one training loop, for pretraining and finetuning."""
