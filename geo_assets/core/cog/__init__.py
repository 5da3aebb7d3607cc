"""What a Cloud Optimized GeoTIFF of a raster is to be like, and whether it came out so."""
