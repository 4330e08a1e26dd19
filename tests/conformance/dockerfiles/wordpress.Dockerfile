FROM layer-cake-test-both
# persistent dependencies
RUN mkdir -p /usr/src/wordpress
VOLUME /var/www/html
