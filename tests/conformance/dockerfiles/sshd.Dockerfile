FROM layer-cake-test-base
RUN mkdir -p /run/sshd
ENV NOTVISIBLE "in users profile"
RUN echo "export VISIBLE=now" >> /etc/profile
EXPOSE 22
CMD ["/bin/sshd", "-D"]
