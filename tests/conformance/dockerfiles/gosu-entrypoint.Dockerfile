FROM layer-cake-test-base
COPY --chown=0:0 ["entrypoint.sh", "/docker entrypoint.sh"]
ENTRYPOINT ["/docker entrypoint.sh", "gosu", "app"]
CMD ["app", "--with", "blanks in it"]
