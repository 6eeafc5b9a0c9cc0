"""A plain program of TensorFlow 1 that wrote ``checkpoint/``; it knows nothing of expkit."""

from pathlib import Path

import numpy as np
import tensorflow.compat.v1 as tf


def main() -> None:
    """Write two layers, their averages and the step, filled with the numbers 0, 1, 2, ..."""
    tf.disable_eager_execution()
    first = 0
    for scope, shapes in (("layer1", ((3, 3), (3,))), ("layer2", ((3, 3), (3,)))):
        with tf.variable_scope(scope):
            for name, shape in zip(("weights", "biases"), shapes, strict=True):
                size = int(np.prod(shape))
                values = np.arange(first, first + size, dtype=np.float32).reshape(shape)
                tf.get_variable(name, initializer=values)
                first += size
    step = tf.train.get_or_create_global_step()
    average = tf.train.ExponentialMovingAverage(0.5)
    variables = tf.trainable_variables()
    moved = [tf.assign_add(variable, tf.fill(variable.shape, 100.0)) for variable in variables]
    with tf.control_dependencies(moved):
        apply = average.apply(variables)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(apply)
        session.run(step.assign(7))
        prefix = Path(__file__).parent / "checkpoint/model.ckpt"
        tf.train.Saver(save_relative_paths=True).save(session, str(prefix), global_step=step, write_meta_graph=False)


if __name__ == "__main__":
    main()
