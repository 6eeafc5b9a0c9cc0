"""File formats of TensorFlow, NumPy and safetensors, from which variables are read by name."""
