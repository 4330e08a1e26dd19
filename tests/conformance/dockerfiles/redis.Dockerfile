FROM layer-cake-test-base
ENV REDIS_VERSION=7.2.4 \
    REDIS_HOME=/data
RUN mkdir /data && chown 999:999 /data
VOLUME /data
WORKDIR /data
COPY entrypoint.sh /usr/local/bin/
ENTRYPOINT ["entrypoint.sh"]
ENV PATH=/usr/local/bin:/bin
EXPOSE 6379
CMD ["redis-server"]
