"""A folder of crops: patients, pairs of image and annotation."""
