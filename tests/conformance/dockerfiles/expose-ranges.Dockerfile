FROM layer-cake-test-base
ARG FROM_PORT=7000
EXPOSE 80/tcp 53/udp ${FROM_PORT}-7005
ENTRYPOINT ["show"]
