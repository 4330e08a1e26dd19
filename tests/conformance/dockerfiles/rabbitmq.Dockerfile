ARG ROOT=layer-cake-test
FROM ${ROOT}-base AS build-base
FROM build-base as erlang-builder
RUN mkdir -p /opt/erlang && echo 26 >/opt/erlang/version
FROM ${ROOT}-base
COPY --from=erlang-builder /opt/erlang /opt/erlang
ENV RABBITMQ_DATA_DIR /var/lib/rabbitmq
ENV HOME $RABBITMQ_DATA_DIR
COPY --chown=999:999 entrypoint.sh /usr/local/bin/docker-entrypoint.sh
ENTRYPOINT ["/usr/local/bin/docker-entrypoint.sh"]
CMD ["rabbitmq-server"]
