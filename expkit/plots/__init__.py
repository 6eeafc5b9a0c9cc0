"""Plots of runs, drawn by matplotlib from plain data."""
