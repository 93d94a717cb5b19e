# The `odradek` command with nothing else in it. User code goes to /app, by COPY in an image of your own or by a volume:
#   docker run -v ./shop:/app/shop -e ODRADEK_LOG=kafka://kafka:9092 odradek orchestrator shop.workflows

FROM python:3.12-slim AS build
RUN python -m venv /opt/odradek
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY log log
COPY sdk sdk
COPY orchestrator orchestrator
COPY workers workers
COPY cli cli
RUN /opt/odradek/bin/pip install --no-cache-dir '.[redis,schema-registry]'

FROM python:3.12-slim
RUN useradd --system --uid 10001 --create-home odradek \
    && install --directory --owner=odradek /app /var/lib/odradek
COPY --from=build /opt/odradek /opt/odradek
ENV PATH=/opt/odradek/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    ODRADEK_HEALTH_PORT=8080 \
    ODRADEK_STORE=/var/lib/odradek
WORKDIR /app
USER 10001
# The local store is a cache: losing it costs time, never data. A volume makes restarts quick.
VOLUME /var/lib/odradek
# /healthz, /readyz and /metrics
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["odradek"]
CMD ["--help"]
