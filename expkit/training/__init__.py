"""Training: losses, metrics, optimizers, graphs per mode, and the loop that runs them."""
