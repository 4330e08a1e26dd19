FROM layer-cake-test-base
RUN echo "* * * * * root echo \"Hello # world\" >> /var/log/cron.log 2>&1" > /crontab \
 && chmod 0644 /crontab
CMD cron -f -l 2 && echo "after # no comment"
