"""Secrets in URIs: what is hidden, and what is left as it is."""

from __future__ import annotations

import pytest

from expkit.redact import is_masked, masked, without_user


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://user:secret@host:5000/path", "http://***@host:5000/path"),
        ("https://secret@host", "https://***@host"),
        ("postgresql://user:se:cr@et@host/db", "postgresql://***@host/db"),
        ("http://user:sec/ret@host", "http://***@host"),
        ("http://host/x?access_token=secret&page=2", "http://host/x?access_token=***&page=2"),
        ("http://host/x?page=2&Password=secret#there", "http://host/x?page=2&Password=***"),
        ("- tracking.uri='http://user:secret@host'\n- a=b\n", "- tracking.uri='http://***@host'\n- a=b\n"),
        ("two: http://a:secret@b and ftp://c:secret@d", "two: http://***@b and ftp://***@d"),
    ],
)
def test_users_and_secret_parameters_are_hidden(text: str, shown: str) -> None:
    assert masked(text) == shown
    assert masked(shown) == shown
    assert "secret" not in shown


@pytest.mark.parametrize(
    "text",
    [
        "http://host:5000/a@b",
        "sqlite:////tmp/x.db?timeout=30",
        "models:/name@alias",
        "mail me@there",
        "a: b@c://d",
        "http://host/#/experiments/1/runs?viewStateShareKey=2f17&workflowType=machine_learning",  # printed by expkit ui
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert masked(text) == text


def test_a_masked_uri_is_recognized_and_can_be_used_without_the_user() -> None:
    assert is_masked("http://***@host")
    assert not is_masked("http://host")
    assert without_user("http://***@host:1/x") == "http://host:1/x"
