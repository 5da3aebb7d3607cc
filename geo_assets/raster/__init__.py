"""What a raster's header says: TIFF, grids, CRS, outline, and further formats in `formats`.

Pure, except `reader`, which reads on worker processes. A new format goes into `formats`.
"""
