"""The exception tree of geo_assets: what can go wrong, with a stable code and a remedy for each.

GeoAssetsError
├── PermanentError: trying again changes nothing; a blob that raises one is quarantined
│   ├── InvalidConfiguration   sources.yaml or the environment is wrong
│   ├── NotARaster             the bytes are no raster at all
│   ├── UnsupportedFormat      a raster, but of a format that is not read
│   ├── Corrupt                a raster whose header cannot be read
│   ├── TooLarge               reading it would need more memory than is allowed
│   ├── ReaderCrashed          the process that read it died
│   ├── ReaderTimeout          reading it did not end
│   ├── MissingCrs             no coordinate reference system
│   ├── MissingTransform       no geotransform: the raster is not placed on its CRS
│   ├── NoFootprint            the corners cannot be placed on the Earth in this CRS
│   ├── MissingDatetime        no datetime rule of the source matched
│   ├── DuplicateItem          another blob already owns this item id
│   ├── NotInGroup             `group.name` does not match its name
│   ├── InvalidItem            the item breaks the schema of STAC or of an extension
│   ├── InvalidPatch           a patch of an item that cannot be applied, or may not
│   ├── InvalidFilter          a filter that is not CQL2, is too large, or names what may not be asked
│   ├── DeletionsHeld          more items would be removed than the source allows without approval
│   ├── CatalogueRefusal       a collection or item is not deleted: it is protected, not empty or does not exist
│   ├── MalformedMessage       a message in a queue of events is not valid
│   ├── DeliveriesNeverEnded   a message in a queue of events was delivered often, and its deliveries did not end
│   ├── UnfitForProfile        no COG of this raster can be what the source's rule says
│   ├── CogInvalid             a COG that was written is not valid, or differs from its raster
│   ├── CogNameTaken           another raster's COG has the name already
│   ├── FolderNotWritable      a file cannot be written where it should go
│   ├── InvalidBackup          a file is no backup that can be restored
│   ├── UnreadableName         no client can ask for a blob of this name
│   ├── BlobChanged            overwritten after it was listed
│   └── BlobMissing            gone after it was listed
└── TransientError: the work is right, the moment is wrong; the next run finishes it
    ├── Unauthorized           the store refuses our credential
    ├── StorageUnavailable     the store does not answer, or answers 5xx
    ├── Unforeseen             work on a file raised what no reason is known for; permanent after three attempts
    ├── SourceNotReadable      checking a source raised what no reason is known for
    ├── MarkerRefused          the store does not go on where a listing was left
    ├── QueueUnavailable       a queue of events does not answer
    ├── DatabaseUnavailable    PostgreSQL does not answer, or is not migrated
    │   ├── DatabaseIncomplete     tables, triggers, keys, indexes or functions are missing
    │   ├── DatabaseDiskFull       its server has no room on disk
    │   ├── DatabaseMemoryFull     its server has no memory, or no room for locks
    │   ├── DatabaseBusy           its server takes no more connections
    │   ├── DatabaseStarting       its server starts, stops or recovers
    │   ├── DatabaseReadOnly       its server takes no writes
    │   └── DatabaseForbids        the login may not do that
    ├── DagsterUnavailable     Dagster's web server does not answer
    ├── LaunchRefused          Dagster does not take a run
    ├── AlertNotDelivered      a destination of alerts does not take one
    ├── SchemaUnavailable      a schema cannot be fetched
    ├── ScratchFull            there is no room on disk for work under way
    ├── DiskFull               there is no room on disk for a file that the caller named
    ├── SourceBusy             another run works on the source
    ├── CogsIncomplete         COGs are still to be made, or were not published
    ├── LoadIncomplete         items were loaded but could not be read back
    └── WorkersUnavailable     worker processes do not start

Foreign errors are translated into these once, where the foreign library is called.
"""

from typing import ClassVar

REMEDY_MARK = " Remedy: "
"""What is between a message and its remedy where both are one text: in the ledger and in logs."""


def message_and_remedy(text: str) -> tuple[str, str]:
    """Return the message and the remedy of a text that has both; the remedy is "" if it has none."""
    message, _, remedy = text.partition(REMEDY_MARK)
    return message, remedy


class GeoAssetsError(Exception):
    """Base of every error geo_assets raises on purpose.

    ``code`` is stable and stored in the ledger; ``remedy`` says what a person can do.
    """

    code: ClassVar[str] = "error"
    remedy: str = ""

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if remedy is not None:
            self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" + (f"{REMEDY_MARK}{self.remedy}" if self.remedy else "")


class PermanentError(GeoAssetsError):
    """Trying again changes nothing until the blob, the rule or the code changes."""

    code = "permanent"


class TransientError(GeoAssetsError):
    """The same call may succeed later.

    After ``max_attempts`` at one version of a blob the reason counts as permanent; None: never.
    """

    code = "transient"
    max_attempts: ClassVar[int | None] = None


class InvalidConfiguration(PermanentError):
    """sources.yaml or the environment is wrong."""

    code = "invalid_configuration"
    remedy = "Correct what the message names: sources.yaml, an environment variable, or the command's argument."


class NotARaster(PermanentError):
    """The bytes are not a raster."""

    code = "not_a_raster"
    remedy = "Exclude the blob in sources.yaml, or upload a raster in its place."


class UnsupportedFormat(PermanentError):
    """A raster of a format that is not read."""

    code = "unsupported_format"
    remedy = "Convert it to GeoTIFF, or exclude it in sources.yaml; docs/guides/formats.md says what is read."


class Corrupt(PermanentError):
    """A raster whose header cannot be read."""

    code = "corrupt"
    remedy = "Upload the file again from its origin."


class TooLarge(PermanentError):
    """Reading the blob would need more memory or bytes than is allowed."""

    code = "too_large"
    remedy = "Rewrite the file with smaller blocks and a smaller header."


class ReaderCrashed(PermanentError):
    """The process that read the blob crashed."""

    code = "reader_crashed"
    remedy = "Check the file with gdalinfo; rewrite it, or exclude it in sources.yaml."


class ReaderTimeout(PermanentError):
    """Reading the blob did not end within its limits."""

    code = "reader_timeout"
    remedy = "Check the file with gdalinfo; rewrite it, or exclude it in sources.yaml."


class MissingCrs(PermanentError):
    """The raster has no coordinate reference system."""

    code = "missing_crs"
    remedy = "Write the CRS into the file (rio edit-info --crs), put a .prj beside it, or set assume_crs of its source."


class MissingTransform(PermanentError):
    """The raster has no geotransform."""

    code = "missing_transform"
    remedy = "Georeference the file (for example with gdalwarp), or put a world file beside it."


class NoFootprint(PermanentError):
    """The raster's outline cannot be placed on the Earth."""

    code = "no_footprint"
    remedy = "Check the CRS and the geotransform of the file, or its control points and RPCs."


class MissingDatetime(PermanentError):
    """No datetime rule of the source matched."""

    code = "missing_datetime"
    remedy = "Add a datetime rule to the source in sources.yaml, or write the date into the file."


class DuplicateItem(PermanentError):
    """Another blob already owns this item id."""

    item_id: str | None = None

    code = "duplicate_item"
    remedy = "Make item_id (or group) of the source in sources.yaml unique, for example item_id with {slug}."

    def __init__(self, message: str, *, remedy: str | None = None, item_id: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.item_id = item_id


class NotInGroup(PermanentError):
    """The source makes items of many blobs, and its `group` assigns this blob to no item."""

    code = "not_in_group"
    remedy = "Correct the regular expression in `group` of the source in sources.yaml, or add the blob to `exclude`."


class InvalidItem(PermanentError):
    """The item breaks the schema of STAC or of an extension it lists."""

    code = "invalid_item"
    remedy = "Correct what the message names in the file or in sources.yaml; if it is in neither, report a defect."


class InvalidPatch(PermanentError):
    """A patch of an item cannot be read, names no item, or sets a property that patches may not set."""

    code = "invalid_patch"
    remedy = "Correct the file and apply it again; nothing of it was kept."


class InvalidFilter(PermanentError):
    """A filter is not CQL2, is larger than allowed, or names a function or property that cannot be asked for."""

    code = "invalid_filter"
    remedy = "Correct the filter; docs/guides/api.md lists the operators and their limits."


class DeletionsHeld(PermanentError):
    """More items of a source would be removed at once than its settings allow without approval."""

    code = "deletions_held"
    remedy = "If the deletions are intended, run `geo-assets deletions SOURCE --approve`; otherwise restore the blobs."


class CatalogueRefusal(PermanentError):
    """A collection or an item does not exist, or may not be deleted."""

    code = "catalogue_refusal"
    remedy = "List the collections with `geo-assets collections list`."


class MalformedMessage(PermanentError):
    """A message in a queue of events reports no blob."""

    code = "malformed_message"
    remedy = (
        "Read it with `geo-assets deadletters show`; replay it when its sender or the reader is fixed, or drop it with "
        "`geo-assets deadletters drop`."
    )


class DeliveriesNeverEnded(PermanentError):
    """A message was delivered as often as its queue allows, and the last delivery never ended."""

    code = "deliveries_never_ended"
    remedy = (
        "Check why ticks of the queue's sensor ended early (memory, restarts of the code server), then put the message "
        "back with `geo-assets deadletters replay`. The next listing finds what it reported in any case."
    )


class UnfitForProfile(PermanentError):
    """The source's settings ask for a COG that this raster's bands, type or place do not allow."""

    code = "unfit_for_profile"
    remedy = "Choose another cogs.profile, or exclude the blob from the source."


class CogInvalid(PermanentError):
    """A COG was written that is not valid, or differs from its raster; it is not published."""

    code = "cog_invalid"
    remedy = "Check the raster with gdalinfo -checksum; if it is sound, report this."


class CogNameTaken(PermanentError):
    """Another raster's COG has the name that this one's would have."""

    code = "cog_name_taken"
    remedy = "Rename one of the two blobs, or exclude one of them in sources.yaml."


class FolderNotWritable(PermanentError):
    """A file cannot be written where it should go."""

    code = "folder_not_writable"
    remedy = "Let this user write there, or name another folder."


class InvalidBackup(PermanentError):
    """The file is not a backup that can be restored."""

    code = "invalid_backup"
    remedy = (
        "Name a file that `geo-assets db backup` wrote, and read it with a PostgreSQL client that is no older than it."
    )


class BlobChanged(PermanentError):
    """The blob was overwritten after it was listed; the next listing brings its new version."""

    code = "blob_changed"
    remedy = "No action needed: the next listing picks up the new version."


class UnreadableName(PermanentError):
    """A folder in the blob's name is called `.` or `..`, which clients take for a step to another blob."""

    code = "unreadable_name"
    remedy = "Upload the blob under another name, or exclude it in sources.yaml."


class BlobMissing(PermanentError):
    """The blob was deleted after it was listed; the next listing records the deletion."""

    code = "blob_missing"
    remedy = "No action needed: the next listing records the deletion."


class Unauthorized(TransientError):
    """The store refuses our credential: no fault of any blob, and no retry helps at once."""

    code = "unauthorized"
    remedy = "Check the AZURE_STORAGE_* variables (.env.example) and the role of the identity."


class StorageUnavailable(TransientError):
    """The store does not answer, or answers 5xx."""

    code = "storage_unavailable"
    remedy = "Check that the storage account can be reached; the next run finishes the rest."


class Unforeseen(TransientError):
    """Something failed for which no reason is known; of a file, work on it stops after three attempts."""

    code = "unforeseen"
    remedy = (
        "Check the file with gdalinfo or ogrinfo, and upload it again if it is damaged. If it is sound, geo_assets is "
        "at fault: report this message, and exclude the blob in sources.yaml until then."
    )
    max_attempts = 3


class SourceNotReadable(TransientError):
    """Checking a source raised an error whose reason is not known."""

    code = "source_not_readable"
    remedy = "Check the source with `geo-assets sources`. If its store is sound, geo_assets is at fault: report it."


class MarkerRefused(TransientError):
    """The store does not honour the marker of a listing that was left; a new listing starts over."""

    code = "marker_refused"
    remedy = "No action needed: the next listing starts from the beginning."


class QueueUnavailable(TransientError):
    """A queue of events does not answer, or does not exist."""

    code = "queue_unavailable"
    remedy = "Check that the queue exists and can be reached; messages wait there, and listings find what they report."


class DatabaseUnavailable(TransientError):
    """PostgreSQL does not answer, or is not migrated."""

    code = "database_unavailable"
    remedy = "Start it with `geo-assets db start`, or check GEO_ASSETS_DATABASE_URL."


class DatabaseIncomplete(DatabaseUnavailable):
    """The database lacks tables, triggers, keys, indexes or functions that this release makes."""

    code = "database_incomplete"
    remedy = (
        "No command adds what is missing: make an empty database and restore a backup into it with `geo-assets db "
        "restore`, or make the catalogue again from its containers (docs/operate/backup.md)."
    )


class DatabaseDiskFull(DatabaseUnavailable):
    """The server of the database has no room on its disk."""

    code = "database_disk_full"
    remedy = "Free space on the disk of PostgreSQL's server, or enlarge it; then run it again."


class DatabaseMemoryFull(DatabaseUnavailable):
    """The server of the database has no memory left, or no room for more locks."""

    code = "database_memory_full"
    remedy = "Give PostgreSQL's server more memory, or raise what its message names, such as max_locks_per_transaction."


class DatabaseBusy(DatabaseUnavailable):
    """The server of the database takes no more connections."""

    code = "database_busy"
    remedy = "End unused sessions (see pg_stat_activity), or raise max_connections of PostgreSQL's server."


class DatabaseStarting(DatabaseUnavailable):
    """The server of the database starts, stops or recovers, and takes no connections yet."""

    code = "database_starting"
    remedy = "Wait until it is ready, and try again; if that takes long, see the server's log."


class DatabaseReadOnly(DatabaseUnavailable):
    """The server of the database takes no writes."""

    code = "database_read_only"
    remedy = (
        "Let the URL name the primary, not a standby. Where a provider made the server read-only because its disk is "
        "nearly full, enlarge the disk."
    )


class DatabaseForbids(DatabaseUnavailable):
    """The login of the database may not do that."""

    code = "database_forbids"
    remedy = "Run `geo-assets db migrate`, which grants each login what it needs, with the owner's URL."


class DagsterUnavailable(TransientError):
    """Dagster's web server does not answer."""

    code = "dagster_unavailable"
    remedy = "Start it with `make up`, or correct `GEO_ASSETS_DAGSTER_SERVER`."


class LaunchRefused(TransientError):
    """Dagster did not take the run."""

    code = "launch_refused"
    remedy = "Check Dagster's message, and that its code location has this release loaded."


class AlertNotDelivered(TransientError):
    """A destination of alerts does not answer, or does not take a message; it is tried again with the next tick."""

    code = "alert_not_delivered"
    remedy = "Check its GEO_ASSETS_ALERT_* or GEO_ASSETS_SMTP_* variables with `geo-assets alerts test`."


class SchemaUnavailable(TransientError):
    """A JSON schema cannot be fetched from where it is published."""

    code = "schema_unavailable"
    remedy = "Check the network, or fetch from a copy with --mirror."


class ScratchFull(TransientError):
    """The disk has no room for the files of work under way."""

    code = "scratch_full"
    remedy = "Free space there, or point GEO_ASSETS_SCRATCH at a larger disk; the next run makes what is left."


class DiskFull(TransientError):
    """The disk has no room for a file that is being written."""

    code = "disk_full"
    remedy = "Free space there, or name a file on another disk; then run it again."


class SourceBusy(TransientError):
    """Another run works on the source."""

    code = "source_busy"
    remedy = "Wait for that run to end, or cancel it, then run the job again: nothing that is done is done twice."


class CogsIncomplete(TransientError):
    """COGs of a run are still to be made."""

    code = "cogs_incomplete"
    remedy = "No action needed: what is done is kept, and the next run makes the rest."


class LoadIncomplete(TransientError):
    """Items were handed to PgSTAC but could not be read back."""

    code = "load_incomplete"
    remedy = "Run the job again; see the PostgreSQL log if it repeats."


class WorkersUnavailable(TransientError):
    """Worker processes die before they start on any blob."""

    code = "workers_unavailable"
    remedy = "Check the memory of the machine and GEO_ASSETS_WORKERS."
