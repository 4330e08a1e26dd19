FROM layer-cake-test-base
ENV PHP_INI_DIR /usr/local/etc/php
RUN set -eux; \
	\
	mkdir -p "$PHP_INI_DIR/conf.d"; \
# allow running as an arbitrary user (https://example.com/php/issues/743)
	[ ! -d /var/www/html ]; \
	mkdir -p /var/www/html; \
	chmod 1777 /var/www/html
COPY entrypoint.sh /usr/local/bin/docker-php-entrypoint
ENTRYPOINT ["/usr/local/bin/docker-php-entrypoint"]
WORKDIR /var/www/html
# Override stop signal to stop process gracefully
STOPSIGNAL SIGQUIT
EXPOSE 9000
CMD ["php-fpm"]
