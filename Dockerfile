# One image for all that a federation needs: fedsq (run, silo, certs, report ...) and Flower's commands
# (flower-superlink, flwr). `docker run IMAGE` runs the default experiment in one process; compose.yaml has
# a server and two silos, docs/how-to/deploy.md says how they are used.
#
#   docker build -t fedsq:0.2.0 .                                  torch for CPUs, of PyTorch's own index
#   docker build -t fedsq:0.2.0-cuda --build-arg TORCH_INDEX= .    the default build of torch, with CUDA
#
# The base image is that of an exact tag; PYTHON_DIGEST=sha256:... pins its content too.

ARG PYTHON_TAG=3.11.14-slim-bookworm
ARG PYTHON_DIGEST=""
FROM python:${PYTHON_TAG}${PYTHON_DIGEST:+@${PYTHON_DIGEST}} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# pip and the build backend stay in this stage; what is installed has neither.
RUN python -m venv /opt/tools && python -m venv --without-pip /opt/fedsq
WORKDIR /source
COPY constraints.txt ./
RUN /opt/tools/bin/pip install -c constraints.txt hatchling
# Of an index of its own torch is taken alone: the rest, constrained, need not be there.
ARG TORCH_INDEX="https://download.pytorch.org/whl/cpu"
RUN if [ -n "$TORCH_INDEX" ]; then \
        /opt/tools/bin/pip --python /opt/fedsq/bin/python install --no-deps -c constraints.txt \
            --index-url "$TORCH_INDEX" torch torchvision; \
    fi
# The dependencies are a layer of their own, which changes of the code leave as it is.
COPY pyproject.toml ./
# The extra privacy is for silos that enforce it.
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
        print(*p['dependencies'], *p['optional-dependencies']['privacy'], sep='\n')" > requirements.txt \
    && /opt/tools/bin/pip --python /opt/fedsq/bin/python install -c constraints.txt -r requirements.txt
COPY README.md LICENSE ./
COPY fedsq_flwr fedsq_flwr
COPY conf conf
RUN /opt/tools/bin/python -m hatchling build -t wheel -d /wheels \
    && /opt/tools/bin/pip --python /opt/fedsq/bin/python install --no-deps --root /app /wheels/*.whl

FROM python:${PYTHON_TAG}${PYTHON_DIGEST:+@${PYTHON_DIGEST}}
ARG PYTHON_TAG
ARG PYTHON_DIGEST
ARG REVISION=""
LABEL org.opencontainers.image.title="FedSQ on Flower" \
      org.opencontainers.image.description="Federated fine-tuning of pretrained networks under fixed ReLU gates" \
      org.opencontainers.image.version="0.2.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="docker.io/library/python:${PYTHON_TAG}" \
      org.opencontainers.image.base.digest="${PYTHON_DIGEST}"
# The number is fixed, since keys that are mounted must belong to it: nobody else may read them.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/fedsq --shell /usr/sbin/nologin fedsq \
    && install -d -o fedsq -g fedsq -m 700 /var/lib/fedsq /var/lib/fedsq/flwr
COPY --from=build /opt/fedsq /opt/fedsq
COPY --from=build /app /
ENV PATH=/opt/fedsq/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    FLWR_HOME=/var/lib/fedsq/flwr \
    FLWR_TELEMETRY_ENABLED=0 \
    FLWR_DISABLE_UPDATE_CHECK=1 \
    FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1 \
    RAY_USAGE_STATS_ENABLED=0
USER 10001:10001
WORKDIR /var/lib/fedsq
# No HEALTHCHECK: a run ends by itself. Those of the server and of silos, which have a health file, are in compose.yaml.
# Python takes SIGINT even as process 1, which SIGTERM does not reach: a run keeps its finished rounds, a silo leaves.
STOPSIGNAL SIGINT
ENTRYPOINT ["fedsq"]
CMD ["run", "executor=inprocess"]
