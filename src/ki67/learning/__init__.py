"""All that trains or adapts a model: the only room that knows PyTorch, scikit-learn and ``onnx`` (extra ``train``).

What comes out is an ONNX file with its card, which ``cells`` and ``idc`` run without any of them.
"""
