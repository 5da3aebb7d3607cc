"""Where blobs lie: containers and folders; listing, looking up, downloading, and the files that geo_assets makes.

A new kind of store goes here. Not here: what is inside of a blob.
"""
