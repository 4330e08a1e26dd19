FROM layer-cake-test-base
COPY .cake/disco /disco
ENTRYPOINT ["/disco", "show", "already"]
CMD ["there"]
