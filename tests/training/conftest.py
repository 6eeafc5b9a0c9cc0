"""The networks of these tests are small: XLA compiles updates of variables of any size."""

import pytest


@pytest.fixture(autouse=True)
def _compiled_updates_of_small_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("expkit.training.update.LEAST_COMPILED", 1)
