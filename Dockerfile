# The official image, or the Astro runtime's variant without build triggers, whose home lies elsewhere:
#   --build-arg BASE_IMAGE=<Astro's registry>/runtime:3.3-<build>-base --build-arg APP_HOME=/usr/local/airflow
# A release sets BASE_IMAGE to a digest.
ARG BASE_IMAGE=apache/airflow:3.3.2-python3.12
FROM ${BASE_IMAGE}

ARG APP_HOME=/opt/airflow
WORKDIR ${APP_HOME}

# The account of both images (airflow there, astro here), as a number: Kubernetes' runAsNonRoot can't check a name.
USER 50000

COPY --chown=50000:0 requirements.txt ./
RUN pip install --no-cache-dir --require-hashes --requirement requirements.txt

COPY --chown=50000:0 config config
COPY --chown=50000:0 include include
COPY --chown=50000:0 plugins plugins
COPY --chown=50000:0 dags dags

ENV PYTHONPATH=${APP_HOME}/plugins:${APP_HOME}/config:${APP_HOME} \
    PLATFORM_OPS_HOME=${APP_HOME}
