"""What people read: reports, comparisons, model cards."""
