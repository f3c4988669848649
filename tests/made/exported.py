"""Exported files, run."""

import onnxruntime
import torch


def onnx(path):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session, lambda *inputs: session.run(
        None, {node.name: array for node, array in zip(session.get_inputs(), inputs)}
    )[0]


def pt2(path):
    module = torch.export.load(str(path)).module()
    return lambda *inputs: module(*map(torch.from_numpy, inputs)).detach().numpy()
