"""Chaksu: fundus photographs, disc and cup, five experts."""
