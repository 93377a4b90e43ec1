"""GLUE: finetune, evaluate, and say exactly how."""
