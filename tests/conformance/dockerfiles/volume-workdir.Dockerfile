FROM layer-cake-test-base
VOLUME ["/data", "/more data"]
VOLUME /a /b
WORKDIR /opt
WORKDIR relative
WORKDIR $NOTHING/deeper
CMD ["show"]
