"""Gleason 2019: prostate tissue cores, up to six pathologists."""
