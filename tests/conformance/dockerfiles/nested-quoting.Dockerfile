FROM layer-cake-test-base
ENTRYPOINT ["sh", "-c", "show 'it'\"'\"'s' \"a \\\"quoted\\\" word\" \"$@\"", "--"]
CMD ["x'y\"z", "\\backslash\\", "tab\there", "new\nline", "$HOME ${HOME}", "*", ""]
