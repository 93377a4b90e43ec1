# A machine with NVIDIA GPUs: JAX with its own CUDA, so that the image needs none. Not run yet on any GPU.
#     docker build -f docker/cuda.Dockerfile -t budgetbert-cuda .
#     docker run --rm --gpus all -v "$PWD/runs:/budgetbert/runs" budgetbert-cuda frontier --demo --output_dir runs/demo
FROM python:3.11-slim-bookworm

WORKDIR /budgetbert
COPY pyproject.toml setup.py README.md LICENSE constraints.txt requirements-without-tensorflow.txt /source/
COPY budgetbert /source/budgetbert
COPY recipes /source/recipes
RUN pip install --no-cache-dir -c /source/constraints.txt -r /source/requirements-without-tensorflow.txt "jax[cuda12]" \
    && pip install --no-cache-dir --no-deps keras-hub==0.32.0 /source

ENV KERAS_BACKEND=jax
ENTRYPOINT ["budgetbert"]
CMD ["--help"]
