"""The same definitions, whose runs send their steps to Celery workers: `-m geo_assets.celery.definitions`."""

from geo_assets.celery.executor import celery_executor
from geo_assets.definitions import build_definitions

defs = build_definitions(executor=celery_executor)
