"""LongCIU: CT slices of long-COVID patients, three raters."""
