FROM layer-cake-test-base
RUN set -x; \
	savedAptMark="a b"; \
	[ -z "$savedAptMark" ] || echo $savedAptMark > /dev/null
COPY entrypoint.sh /usr/local/bin/
RUN ln -s usr/local/bin/entrypoint.sh /
ENTRYPOINT ["/entrypoint.sh"]
USER 11211:11211
EXPOSE 11211
CMD ["memcached"]
