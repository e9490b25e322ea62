# One recipe for every service: docker build --build-arg SERVICE=registry -t guqiao/registry:0.1.0 .
# The base image is pinned by its full version; production overlays name what was built by digest.
# A site with its own package index passes its pip configuration as the build secret `pip_conf`.

FROM python:3.11.14-slim-bookworm AS build
WORKDIR /opt/guqiao
RUN python -m venv /opt/venv
COPY requirements.lock ./
RUN --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    /opt/venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.lock
COPY protos ./protos
RUN mkdir gen && /opt/venv/bin/python -m grpc_tools.protoc -Iprotos --python_out=gen --grpc_python_out=gen \
    $(cd protos && find . -name '*.proto' -printf '%P ')
ARG SERVICE
# A misspelt service fails here, before anything is copied for it.
RUN case "$SERVICE" in consensus|gateway|registry|reporting|enablement) ;; \
    *) echo "SERVICE=$SERVICE is none of consensus, gateway, registry, reporting, enablement" >&2; exit 1 ;; esac
COPY pyproject.toml ./
COPY requirements ./requirements
COPY guqiao_sdk ./guqiao_sdk
COPY services/__init__.py ./services/__init__.py
COPY services/chassis ./services/chassis
COPY services/${SERVICE} ./services/${SERVICE}
RUN /opt/venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation -e . \
    && /opt/venv/bin/python -m compileall -q /opt/guqiao

FROM python:3.11.14-slim-bookworm
ARG SERVICE
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/opt/guqiao:/opt/guqiao/gen PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    GUQIAO_IMAGE_SERVICE=${SERVICE}
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/guqiao /opt/guqiao
WORKDIR /opt/guqiao
USER 65532:65532
# The shell is replaced at once, so that the service itself receives SIGTERM.
ENTRYPOINT ["/bin/sh", "-c", "exec python -m services.$GUQIAO_IMAGE_SERVICE \"$@\"", "guqiao"]
CMD ["serve", "--config", "/etc/guqiao/settings.toml"]
