# syntax=docker/dockerfile:1
FROM layer-cake-test-base
RUN <<EOF
set -e
ENTRYPOINT ["never"]
# >>> cake
EOF
RUN cat <<EOF > /a && cat <<-'END OF' 3<<"X" > /b
FROM never
EOF
	CMD never
	END OF
x \
X
COPY <<robots.txt <<"humans.txt" /srv/
User-agent: *
robots.txt
CMD $never
humans.txt
ONBUILD RUN <<EOF
CMD never
EOF
CMD ["show", "<<EOF"]
