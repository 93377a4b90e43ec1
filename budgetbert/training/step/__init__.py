"""The compiled functions under the training loop, on any number of devices."""
