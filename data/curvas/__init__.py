"""CURVAS 2024: abdominal CT, three raters."""
