# Stands in for apache/airflow where no registry is reachable: the same account, home, environment for packages and PATH
# (apache/airflow, Dockerfile). It has no Airflow, so a build installs every package of the list; Python is Debian's 3.11.
FROM scratch
ADD debian.tar /
RUN useradd --uid 50000 --gid 0 --create-home airflow \
    && python3 -m venv /home/airflow/.local \
    && mkdir -p /opt/airflow/dags /opt/airflow/logs \
    && chown -R 50000:0 /home/airflow /opt/airflow \
    && chmod -R g+rwX /home/airflow /opt/airflow
ENV AIRFLOW_HOME=/opt/airflow \
    AIRFLOW__CORE__LOAD_EXAMPLES=false \
    LANG=C.UTF-8 \
    PATH=/home/airflow/.local/bin:/usr/local/bin:/usr/bin:/bin \
    VIRTUAL_ENV=/home/airflow/.local
WORKDIR /opt/airflow
USER 50000
