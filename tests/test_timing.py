"""What a run's log says of time."""

from __future__ import annotations

import logging

import pytest

from expkit.timing import timed


def test_a_part_is_logged_with_its_seconds_also_when_it_fails(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="expkit"):
        with timed("loading"):
            pass
        with pytest.raises(ZeroDivisionError), timed("dividing"):
            raise ZeroDivisionError
    said = [record.getMessage() for record in caplog.records]
    assert [line.rpartition(" took ")[0] for line in said] == ["loading", "dividing"]
    assert all(line.endswith(" s") for line in said)
