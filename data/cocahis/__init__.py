"""CoCaHis: colon cancer metastases in frozen sections, seven raters."""
