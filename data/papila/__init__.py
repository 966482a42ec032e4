"""PAPILA: fundus photographs of both eyes, two experts' contours."""
