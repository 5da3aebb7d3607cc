import logging

# It warns, while it is imported, that the application has no title: that of its own example, not ours.
logging.getLogger("stac_fastapi.types.config").setLevel(logging.ERROR)
