# medssl with all extras, for a CPU or, by build argument, for CUDA:
#   docker build -t medssl .
#   docker build -t medssl:cuda --build-arg TORCH=cu126 .
#   docker run --rm -v "$PWD":/work medssl medssl prepare data --images images --csv labels.csv
#   docker run --rm --gpus all --shm-size 8g -v "$PWD":/work medssl:cuda python -m monai.bundle run \
#     --config_file /opt/medssl/bundles/pretrain/configs/train.yaml --data data --output_dir runs/pretrain
FROM python:3.12-slim

# An index of PyTorch's: cpu, cu126, cu128, …
ARG TORCH=cpu

# Only what is installed, so that a changed page or test does not install everything anew.
WORKDIR /opt/source
COPY pyproject.toml constraints.txt README.md LICENSE MANIFEST.in ./
COPY medssl medssl
COPY transforms transforms
COPY bundles bundles
COPY configs configs
RUN pip install --no-cache-dir --extra-index-url "https://download.pytorch.org/whl/${TORCH}" -c constraints.txt \
      ".[release,onnx,mlflow,parquet]" \
    && medssl bundles --to /opt/medssl \
    && medssl --version

# Not as root; what is written belongs to whoever starts it with --user.
RUN useradd --create-home medssl
USER medssl
ENV MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /work
CMD ["medssl", "--help"]
