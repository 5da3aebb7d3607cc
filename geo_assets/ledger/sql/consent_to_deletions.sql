-- To those that are held now: a later deletion is judged by itself.
WITH released AS (
    UPDATE ledger.blob SET deletion_held = false
    WHERE source = %(source)s AND deleted_at IS NOT NULL AND deletion_held
    RETURNING name
)
SELECT count(*) AS released FROM released
