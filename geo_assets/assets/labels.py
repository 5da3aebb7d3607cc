"""What the Dagster UI shows beside each asset's name, where several assets share it."""

OWNERS = ["team:geospatial-data-engineering"]

BRONZE = "bronze"
CATALOGUE = "catalogue"
DATABASE = "database"
SILVER = "silver"
