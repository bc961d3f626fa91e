# The image of the workers of python -m launch.beam, for runners that take one, such as Dataflow:
#   docker build --file launch/beam.Dockerfile --tag REGION-docker.pkg.dev/PROJECT/REPOSITORY/bert_jax_beam .
FROM apache/beam_python3.11_sdk:2.77.0
COPY launch/beam_requirements.txt /tmp/
RUN pip install --no-cache-dir --requirement /tmp/beam_requirements.txt && pip install --no-cache-dir --no-deps "protobuf>=7.36.1,<8"
COPY bert_jax /bert_jax/bert_jax
COPY launch /bert_jax/launch
ENV PYTHONPATH=/bert_jax
