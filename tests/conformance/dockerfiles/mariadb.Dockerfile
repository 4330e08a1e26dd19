FROM layer-cake-test-base
ARG MARIADB_VERSION=1:11.3.2+maria~ubu2204
ENV MARIADB_VERSION $MARIADB_VERSION
HEALTHCHECK --interval=5m --timeout=3s --start-period=10s \
  CMD healthcheck.sh --connect || exit 1
ENTRYPOINT ["gosu", "mysql"]
EXPOSE 3306
CMD ["mariadbd"]
