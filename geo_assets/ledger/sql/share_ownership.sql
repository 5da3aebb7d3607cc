-- Keeps sources from registering this collection until the transaction ends; other writers share it.
SELECT pg_advisory_xact_lock_shared(hashtextextended('own ' || $1, 5))
