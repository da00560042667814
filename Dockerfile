# Installs the app and starts it: `docker run IMAGE` runs the default experiment in one process.
# Build with  docker build -t fedsq --build-arg TORCH_INDEX=<index of the CPU builds of torch> .
# Without TORCH_INDEX the default build of torch is taken, which brings CUDA along (about 6 GB).
FROM python:3.11-slim

ARG TORCH_INDEX=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

RUN useradd --create-home fedsq
WORKDIR /app
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY fedsq_flwr fedsq_flwr
RUN if [ -n "$TORCH_INDEX" ]; then pip install -c constraints.txt --index-url "$TORCH_INDEX" torch torchvision; fi \
    && pip install -c constraints.txt .

USER fedsq
WORKDIR /home/fedsq
ENTRYPOINT ["fedsq"]
CMD ["run", "executor=inprocess"]
