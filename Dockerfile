# syntax=docker/dockerfile:1.7
# visionsmith for the CPU. docs/guides/install.md says how to build, run, save and load it.
FROM python:3.11-slim-bookworm

# Without data and a choice of the zone, times are UTC and tzdata asks while it is installed, for ever.
ARG TZ=Etc/UTC
ENV TZ=${TZ} \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends tzdata \
    && ln -snf "/usr/share/zoneinfo/${TZ}" /etc/localtime \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home --uid 1000 smith \
    && python -m venv /opt/venv
ENV PATH=/opt/venv/bin:${PATH}

# The packages change seldom and take minutes: a layer of their own, below the project's.
# TORCH_INDEX: an index with CPU builds of torch, which are smaller; pytorch.org names it. Empty: the default builds.
WORKDIR /build
ARG TORCH_INDEX=
COPY pyproject.toml constraints.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > requirements.txt \
    && pip install ${TORCH_INDEX:+--extra-index-url ${TORCH_INDEX}} --constraint constraints.txt --requirement requirements.txt

COPY LICENSE README.md ./
COPY weights ./weights
COPY src ./src
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --no-deps --constraint constraints.txt . \
    && rm -rf /build/*

USER smith
WORKDIR /home/smith
ENTRYPOINT ["visionsmith"]
CMD ["--help"]
