"""ONNX and torch.export files, each checked, with a model card."""
