FROM layer-cake-test-base
RUN echo 'app:x:1234:1234::/home/app:/bin/sh' >> /etc/passwd && echo 'app:x:1234:' >> /etc/group
USER app
CMD ["show", "as app"]
