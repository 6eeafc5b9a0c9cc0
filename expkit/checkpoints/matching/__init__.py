"""Suggestions of rename rules, from the names and shapes of two sets of variables."""
