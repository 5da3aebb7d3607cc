"""Cloud Optimized GeoTIFFs: what one is to be like, making it, checking it, and its picture.

Pure, except `writer`, which works in worker processes.
"""
