-- Whether the source has blobs that these former sources have too, or is to judge all that is left of some of them.
SELECT
    EXISTS (
        SELECT FROM ledger.blob AS o
        JOIN ledger.blob AS n ON n.source = %(source)s AND n.name = o.name
        WHERE o.source = ANY(%(formers)s) AND n.deleted_at IS NULL
    )
    OR EXISTS (SELECT FROM ledger.blob AS o WHERE o.source = ANY(%(whole)s)) AS has_work
