"""What a Celery worker runs: `celery -A geo_assets.celery.app worker`. It reads the environment when it is started."""

import logging

from dagster_celery.tasks import create_task

from geo_assets.celery.executor import StepTask, build_app
from geo_assets.settings import Settings

# Celery lets every library log at its own level; the Azure SDK then writes 20 lines a request.
logging.getLogger("azure").setLevel(logging.WARNING)

app = build_app(Settings())
execute_plan = create_task(app, base=StepTask)
