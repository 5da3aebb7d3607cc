-- Jobs of the API that were neither submitted nor seen to change since.
SELECT job_id
FROM ledger.api_job
WHERE greatest(submitted_at, seen_at) < %(before)s
ORDER BY job_id
