FROM layer-cake-test-base

RUN mkdir -p \
	/config/caddy \
	/data/caddy \
	/etc/caddy

# https://example.com/releases
ENV CADDY_VERSION v2.7.6

# See https://example.com/docs/conventions#file-locations for details
ENV XDG_CONFIG_HOME /config
ENV XDG_DATA_HOME /data

EXPOSE 80
EXPOSE 443
EXPOSE 443/udp

WORKDIR /srv

CMD ["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]
