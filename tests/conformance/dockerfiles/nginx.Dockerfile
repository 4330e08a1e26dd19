FROM layer-cake-test-base

LABEL maintainer="NGINX Docker Maintainers <docker-maint@example.com>"

ENV NGINX_VERSION   1.25.4
ENV PKG_RELEASE     1~bookworm

RUN set -x \
# create the user first
    && mkdir -p /var/cache/nginx \
    && if [ -n "" ]; then \
        echo never; \
    fi \
# forward logs
    && ln -sf /dev/stdout /var/cache/nginx/access.log

EXPOSE 80

STOPSIGNAL SIGQUIT

CMD ["nginx", "-g", "daemon off;"]
