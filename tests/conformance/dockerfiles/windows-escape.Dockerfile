# escape=`

FROM layer-cake-test-base
COPY conf/ c:\
RUN echo one `
 && echo two\three
ENV DIR=C:\app\
ENTRYPOINT ["show", "C:\\app\\", "back`tick"]
CMD show `
    C:\x\
