"""Watches models in use: signals from the journal, alerts with hysteresis, what to do, and the review queue."""
