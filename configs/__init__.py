"""Configs: `get_config(arg)` functions for run_train.py. default.py lists every field; the others overlay it."""
