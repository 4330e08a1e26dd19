FROM layer-cake-test-base
LABEL autor="Jürgen Müßig"
ENV GRÜSSE="schöne Grüße"
ENTRYPOINT ["show", "héllo", "日本語", "\u00e9\ud83d\ude00", "\u2028"]
CMD ["Ω"]
