SELECT source, count(*) AS files FROM ledger.orphaned_file GROUP BY source ORDER BY source
