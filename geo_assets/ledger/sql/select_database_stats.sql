SELECT
    current_database() AS name,
    current_setting('server_version') AS postgresql,
    postgis_lib_version() AS postgis,
    pgstac.get_version() AS pgstac,
    (SELECT version_num FROM ledger.alembic_version) AS ledger,
    pg_database_size(current_database()) AS size_bytes,
    (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()) AS connections,
    (SELECT count(*) FROM pgstac.collections) AS collections,
    (SELECT count(*) FROM ledger.vector_table) AS vector_layers,
    (SELECT count(*) FROM ledger.api_job) AS jobs
