# geo_assets: the API, the code location, Dagster's web server and daemon, and a Celery worker, each by its command.
# docker build -t geo_assets:0.1.0 .

FROM node:22-slim AS page
WORKDIR /page
COPY package.json ./
RUN npm install --omit=dev --no-package-lock --no-audit --no-fund

FROM python:3.11-slim-trixie AS packages
WORKDIR /source
RUN python -m venv /opt/geo_assets
COPY pyproject.toml README.md constraints.txt ./
COPY geo_assets geo_assets
RUN /opt/geo_assets/bin/pip install --no-cache-dir --disable-pip-version-check ".[celery,kubernetes]" -c constraints.txt

FROM python:3.11-slim-trixie
# GDAL's wheels need libexpat; `geo-assets db backup` and `restore` need PostgreSQL's client.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libexpat1 postgresql-client \
    && rm -rf /var/lib/apt/lists/*
ENV PATH=/opt/geo_assets/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    GEO_ASSETS_STATE=/state \
    DAGSTER_HOME=/dagster
WORKDIR /app
COPY --from=packages /opt/geo_assets /opt/geo_assets
COPY --from=page /page/node_modules node_modules
COPY dagster.yaml workspace.yaml ./
COPY dagster.yaml /dagster/dagster.yaml
# Volumes on these two take over their owner; all else is read-only to the process.
RUN mkdir -p /state /dagster/storage && chown 10001:10001 /state /dagster /dagster/storage
USER 10001:10001
EXPOSE 8000
# Of the API; the other services have checks of their own.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/livez', timeout=4)"]
CMD ["geo-assets", "serve", "--host", "0.0.0.0", "--port", "8000"]
