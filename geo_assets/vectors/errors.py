"""Why a vector file becomes no table: reasons with a stable code and a remedy, beside those of `geo_assets.errors`.

Here: what can be wrong with a vector file, its rule, or the place its table goes to. Not here: finding that out
(`geo_assets.vectors`, `geo_assets.resources`). MissingCrs, BlobChanged, TooLarge, ReaderCrashed and their like are
those of `geo_assets.errors`.
"""

from geo_assets.errors import PermanentError, TransientError


class EmptyFile(PermanentError):
    """The file has no bytes."""

    code = "empty_file"
    remedy = "Upload the file again: the upload may have failed half-way."


class PlaceholderFile(PermanentError):
    """A Git LFS pointer in place of the file."""

    code = "placeholder_file"
    remedy = "Upload the file itself (git lfs pull brings it)."


class WebPage(PermanentError):
    """An HTML page in place of the file: often the error page of a failed download."""

    code = "web_page"
    remedy = "Download the file again from its origin, and check it before uploading."


class UnknownFormat(PermanentError):
    """The file is not in a vector format that is read."""

    code = "unknown_vector_format"
    remedy = (
        "Convert it to GeoPackage (ogr2ogr -f GPKG), or exclude it in sources.yaml. Read are GeoPackage, Shapefile, "
        "GeoJSON, GeoJSONSeq, FlatGeobuf, GeoParquet, KML, KMZ, CSV and File Geodatabase (.gdb.zip)."
    )


class UnreadableVector(PermanentError):
    """A file of a known format that cannot be read."""

    code = "unreadable_vector"
    remedy = "Check it with ogrinfo -al -so, and upload it again from its origin."


class TruncatedVector(PermanentError):
    """The file ends before its content does, or holds fewer features than it says."""

    code = "truncated_vector"
    remedy = "Upload the whole file again: a part of it is missing."


class MissingShx(PermanentError):
    """A shapefile without its index."""

    code = "missing_shx"
    remedy = "Upload the .shx beside the .shp; if it is lost, rebuild it by ogr2ogr with SHAPE_RESTORE_SHX=YES."


class MissingDbf(PermanentError):
    """A shapefile without its attributes."""

    code = "missing_dbf"
    remedy = "Upload the .dbf beside the .shp: it holds the attributes."


class PartsDisagree(PermanentError):
    """The parts of a shapefile do not belong together."""

    code = "parts_disagree"
    remedy = "Upload .shp, .shx and .dbf together, as they were written."


class NoLayers(PermanentError):
    """The file has no vector layer."""

    code = "no_layers"
    remedy = "Check it with ogrinfo; exclude it in sources.yaml if it is meant to be empty, or holds rasters only."


class NoSuchLayer(PermanentError):
    """`tables.layers` selects none of the file's layers."""

    code = "no_such_layer"
    remedy = "Correct `tables.layers` of the source in sources.yaml."


class NoSuchColumn(PermanentError):
    """A column that the settings name is not in the file."""

    code = "no_such_column"
    remedy = "Correct the name under `tables` of the source in sources.yaml; spell names as the file does."


class NoGeometryColumns(PermanentError):
    """A CSV or Parquet file of which no column holds places."""

    code = "no_geometry_columns"
    remedy = "Name the columns in sources.yaml: tables.x and tables.y, or tables.wkt."


class BadFilter(PermanentError):
    """`tables.where` cannot be applied to the file."""

    code = "bad_filter"
    remedy = "Correct `tables.where` of the source in sources.yaml: it is SQL as ogr2ogr -where takes it."


class BadEncoding(PermanentError):
    """Text that is not in the encoding which the file states."""

    code = "bad_encoding"
    remedy = "State the encoding: a .cpg beside a shapefile, or tables.encoding in sources.yaml (such as CP1252)."


class UnsafeArchive(PermanentError):
    """An archive with members that cannot all be written below one folder, each under its own name."""

    code = "unsafe_archive"
    remedy = "Make a new archive: short paths relative to its own folder, each once, without links."


class UnsafeDatabase(PermanentError):
    """A GeoPackage with tables that are made of something else than its own content."""

    code = "unsafe_database"
    remedy = "Write its layers into a new file: ogr2ogr -f GPKG out.gpkg in.gpkg."


class ArchiveBomb(PermanentError):
    """An archive that unpacks to far more than it is."""

    code = "archive_bomb"
    remedy = "Check where the file is from; if it is honest, upload its content unpacked."


class EncryptedFile(PermanentError):
    """A file or archive that needs a password."""

    code = "encrypted_file"
    remedy = "Upload it without a password."


class BrokenArchive(PermanentError):
    """An archive that cannot be unpacked."""

    code = "broken_archive"
    remedy = "Make a new archive, and check it with unzip -t."


class EmptyArchive(PermanentError):
    """An archive that holds no vector file."""

    code = "empty_archive"
    remedy = "Put the vector files themselves into the archive: archives within it are not opened."


class NoUsableRows(PermanentError):
    """Every row of a layer was rejected."""

    code = "no_usable_rows"
    remedy = "Correct the geometries or the coordinates; the message says what is wrong with them."


class UnplaceableGeometry(PermanentError):
    """A geometry that has no exact place in the CRS of the table, such as one that crosses the end of that CRS."""

    code = "unplaceable_geometry"
    remedy = (
        "Divide the feature where the message says, or set `tables.target_crs` in sources.yaml to a CRS in which it is "
        "one piece (EPSG:4326 takes what crosses 180 degrees, or goes round a pole)."
    )


class NullGeometry(PermanentError):
    """Rows without a geometry, which the settings do not allow."""

    code = "null_geometry"
    remedy = "Correct the file, or set `tables.null_geometry` or `tables.empty_geometry` to `keep` or `drop`."


class MissingKey(PermanentError):
    """Rows without a value in the key that they are upserted by."""

    code = "missing_key"
    remedy = "Give every row a value in the columns of tables.key."


class DuplicateKey(PermanentError):
    """Two rows of one file with the same key."""

    code = "duplicate_key"
    remedy = "Make the columns of tables.key tell the rows apart, or choose others."


class ColumnsDiffer(PermanentError):
    """The file's columns are not those of the table that its rows are to be added to."""

    code = "columns_differ"
    remedy = "Give the file the same columns (tables.columns chooses some), or give it a table of its own."


class TableTaken(PermanentError):
    """The table's name belongs to something else."""

    code = "table_taken"
    remedy = (
        "Change tables.name or tables.schema of the source in sources.yaml; {slug} is never the same for two files."
    )


class UnloadableValue(PermanentError):
    """A value that PostgreSQL cannot hold."""

    code = "unloadable_value"
    remedy = "Correct the value in the file; the message names it."


class TableInUse(TransientError):
    """A view depends on the table, or a reader holds it, so that it cannot be replaced or dropped."""

    code = "table_in_use"
    remedy = "Drop the view or let the reader end; the table stays as it is until then, and the next run replaces it."
