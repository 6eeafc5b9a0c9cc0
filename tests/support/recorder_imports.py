"""What a recorder imports in the course of its work, imported."""

from expkit.tracking.client import prepare

prepare()

import mlflow.pyfunc  # noqa: E402
import mlflow.store.tracking.sqlalchemy_store  # noqa: E402, F401
