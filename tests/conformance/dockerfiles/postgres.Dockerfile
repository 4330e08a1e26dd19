FROM layer-cake-test-base

RUN set -eux; \
	mkdir -p /var/lib/postgresql/data; \
	chmod 777 /var/lib/postgresql/data

ENV LANG en_US.utf8
ENV PG_MAJOR 16
ENV PGDATA /var/lib/postgresql/data
VOLUME /var/lib/postgresql/data

COPY entrypoint.sh /usr/local/bin/docker-entrypoint.sh
ENTRYPOINT ["/usr/local/bin/docker-entrypoint.sh"]

STOPSIGNAL SIGINT
EXPOSE 5432
CMD ["postgres"]
