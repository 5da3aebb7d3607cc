"""Tests on real services: PostgreSQL, Azurite and Dagster."""
