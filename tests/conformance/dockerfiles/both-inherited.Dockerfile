FROM layer-cake-test-both
COPY conf/app.conf /etc/app.conf
