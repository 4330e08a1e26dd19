FROM layer-cake-test-base
COPY conf/app.conf /etc/supervisor/conf.d/supervisord.conf
EXPOSE 22 80
CMD ["/bin/supervisord", "-n", "-c", "/etc/supervisor/conf.d/supervisord.conf"]
