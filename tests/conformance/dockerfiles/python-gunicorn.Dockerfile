FROM layer-cake-test-base AS base
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /code

FROM base AS deps
COPY package.json requirements.txt
RUN python -m pip install -r requirements.txt

FROM base
COPY --from=deps /code /code
CMD exec gunicorn --bind :$PORT --workers 1 --threads 8 --timeout 0 main:app
ENV PORT=8000
