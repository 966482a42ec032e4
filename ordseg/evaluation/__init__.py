"""From maps and masks to one result."""
