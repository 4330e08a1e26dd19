ARG ARCH="base"
ARG OS="test"
FROM layer-cake-${OS}-${ARCH}
LABEL maintainer="The Prometheus Authors <prom@example.com>"
COPY conf/app.conf        /etc/prometheus/prometheus.yml
WORKDIR /prometheus
RUN chown -R 65534:65534 /etc/prometheus /prometheus
USER       65534
EXPOSE     9090
VOLUME     [ "/prometheus" ]
ENTRYPOINT [ "/bin/prometheus" ]
CMD        [ "--config.file=/etc/prometheus/prometheus.yml", \
             "--storage.tsdb.path=/prometheus" ]
