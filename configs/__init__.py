"""Configs: `get_config(arg)` functions for run_train.py. default.py is what ordseg.config declares."""
