"""Trains generators: tasks, episodes, loops. The scripts that start a run are in ``recipes/``."""
