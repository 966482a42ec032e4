"""LIDC-IDRI slices: 128 x 128 CT crops around lung nodules, outlined by four radiologists."""
