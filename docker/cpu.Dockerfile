# A machine without a GPU: TensorFlow, which trains fastest there.
#     docker build -f docker/cpu.Dockerfile -t budgetbert .
#     docker run --rm -v "$PWD/runs:/budgetbert/runs" budgetbert demo
FROM python:3.11-slim-bookworm

WORKDIR /budgetbert
COPY pyproject.toml setup.py README.md LICENSE constraints.txt /source/
COPY budgetbert /source/budgetbert
COPY recipes /source/recipes
RUN pip install --no-cache-dir -c /source/constraints.txt "/source[tensorflow,serving,search]"

ENTRYPOINT ["budgetbert"]
CMD ["--help"]
