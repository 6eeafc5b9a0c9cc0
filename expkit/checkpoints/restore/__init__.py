"""Restoring: rename rules become a plan, the plan is carried out and leaves a receipt."""
