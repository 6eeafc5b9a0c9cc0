"""Converters of ``expkit export``: one file a format, each with ``convert``; they load little of expkit."""
