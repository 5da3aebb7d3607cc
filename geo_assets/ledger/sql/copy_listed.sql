COPY listed (name, etag, size_bytes, last_modified, content_type, md5) FROM STDIN (FORMAT binary)
