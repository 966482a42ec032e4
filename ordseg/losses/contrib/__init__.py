"""Losses beside the method: controls that are meant to do badly."""
