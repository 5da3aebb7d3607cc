-- The scenes of the blobs in a state, cut into runs of %(batch_size)s scene ids: a scene is never in two batches.
SELECT min(scene_id) AS first, max(scene_id) AS last, count(*) AS blobs, sum(size_bytes)::bigint AS size_bytes
FROM (
    SELECT scene_id, size_bytes, (dense_rank() OVER (ORDER BY scene_id) - 1) / %(batch_size)s AS batch
    FROM ledger.blob_state
    WHERE source = %(source)s AND state = %(state)s AND etag_seen_at <= %(as_of)s AND scene_id IS NOT NULL
) AS pending
GROUP BY batch
ORDER BY first
