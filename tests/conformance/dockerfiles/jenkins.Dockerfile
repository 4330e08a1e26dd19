FROM layer-cake-test-base
ARG user=jenkins
ARG uid=1000
ARG gid=1000
ARG JENKINS_HOME=/var/jenkins_home
ENV JENKINS_HOME $JENKINS_HOME
RUN mkdir -p $JENKINS_HOME && chown ${uid}:${gid} $JENKINS_HOME
VOLUME $JENKINS_HOME
USER ${uid}:${gid}
COPY entrypoint.sh /usr/local/bin/jenkins.sh
ENTRYPOINT ["/bin/tini", "--", "/usr/local/bin/jenkins.sh"]
