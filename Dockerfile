# An exported model behind serve.py, without torch: docs/serving.md
FROM python:3.13-slim

WORKDIR /app
COPY constraints.txt .
RUN pip install --no-cache-dir -c constraints.txt \
    hydra-core omegaconf annotated-types numpy pillow \
    onnxruntime fastapi uvicorn httptools python-multipart prometheus-client

COPY pyproject.toml serve.py ./
COPY configs configs
COPY engine/src engine/src
COPY src src
ENV PYTHONPATH=/app/engine/src:/app/src PYTHONDONTWRITEBYTECODE=1

# nobody
USER 65534:65534
EXPOSE 8000
HEALTHCHECK CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health', timeout=5)"]
ENTRYPOINT ["python", "serve.py", "model=/model", "host=0.0.0.0"]
