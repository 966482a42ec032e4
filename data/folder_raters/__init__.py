"""A folder of your own: images, and one mask file per rater."""
