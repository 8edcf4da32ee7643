"""The kit for image tasks: decoding, batches, augmentation, loss, pictures."""
