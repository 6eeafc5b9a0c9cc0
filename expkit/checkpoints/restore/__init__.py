"""Restores: rename rules become a plan, and carrying it out leaves a receipt."""
