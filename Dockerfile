# The official image, or the Astro runtime's variant without build triggers, whose home lies elsewhere:
#   --build-arg BASE_IMAGE=<Astro's registry>/runtime:3.3-<build>-base --build-arg APP_HOME=/usr/local/airflow
# A release sets BASE_IMAGE to a digest.
ARG BASE_IMAGE=apache/airflow:3.3.2-python3.12
FROM ${BASE_IMAGE}

ARG APP_HOME=/opt/airflow
WORKDIR ${APP_HOME}

# git, by which releases and backups of repositories are made. PostgreSQL's programs, by which its backups are made and
# proven: of the newest server's version, from the base's Debian or, where the base knows that too, from
# apt.postgresql.org. A cluster of the system's own is neither made nor started.
ARG POSTGRES=15
USER root
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git postgresql-common \
    && sed -i 's/^#\?create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf \
    && apt-get install --yes --no-install-recommends postgresql-${POSTGRES} \
    && rm -rf /var/lib/apt/lists/*

# The account of both images (airflow there, astro here), as a number: Kubernetes' runAsNonRoot can't check a name.
USER 50000

# A package index of your own, with its password, comes as a secret and stays in no layer.
COPY --chmod=644 requirements.txt ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf,uid=50000 \
    pip install --no-cache-dir --require-hashes --requirement requirements.txt

# Owned by root and readable by all, whatever the umask of the checkout: the account can't change what it runs.
COPY --chmod=755 config config
COPY --chmod=755 include include
COPY --chmod=755 plugins plugins
COPY --chmod=755 dags dags

ENV PYTHONPATH=${APP_HOME}/plugins:${APP_HOME}/config:${APP_HOME} \
    PLATFORM_OPS_HOME=${APP_HOME} \
    PLATFORM_OPS_POSTGRES_BIN=/usr/lib/postgresql/${POSTGRES}/bin
