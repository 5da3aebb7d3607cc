"""What builds this checkout and its documentation: none of it is part of the package."""
