FROM layer-cake-test-base
ENV GOSU_VERSION 1.17
ENV MYSQL_MAJOR 8.0
VOLUME ["/var/lib/mysql"]
COPY conf/ /etc/mysql/
COPY entrypoint.sh /usr/local/bin/docker-entrypoint.sh
RUN ln -s usr/local/bin/docker-entrypoint.sh /entrypoint.sh # backwards compat
ENTRYPOINT ["/entrypoint.sh"]
EXPOSE 3306 33060
CMD ["mysqld"]
