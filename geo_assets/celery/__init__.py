"""Steps on many machines: the Celery application, the executor and the definitions that use it."""
