"""What a recorder imports in the course of its work, imported."""

from expkit.tracking.client import prepare

prepare()

import mlflow.pyfunc  # noqa: E402  # after prepare, as in a recorder
import mlflow.store.tracking.sqlalchemy_store  # noqa: E402, F401  # what counts is that it is imported
