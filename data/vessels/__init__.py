"""Retinal vessels: DRIVE, STARE and CHASE_DB1, two observers."""
