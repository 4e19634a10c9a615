"""Files of the user's rows and tasks: read, mended, checked, split. Knows no model."""
