FROM layer-cake-test-both
RUN <<EOF
echo last \
EOF