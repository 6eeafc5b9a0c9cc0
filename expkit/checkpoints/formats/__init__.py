"""Formats: variables read by name from the files of TensorFlow, NumPy and safetensors."""
