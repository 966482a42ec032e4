"""LIDC-IDRI: chest CT with the nodule outlines of four radiologists, from DICOM and XML or from a data base."""
