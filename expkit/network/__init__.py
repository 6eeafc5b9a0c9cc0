"""Networks: a description with every variable's name and shape, connected to tensors by ``build``."""
