# The app for a server: docker build -t diffusion-studio . && docker run -p 7860:7860 diffusion-studio
# PIP_ARGS goes to pip; without it PyTorch's default wheels for Linux bring CUDA (see the README).
FROM python:3.11-slim

ARG PIP_ARGS=""
WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir ${PIP_ARGS} -r requirements.txt

COPY launch.py README.md LICENSE ./
COPY core core
COPY studio studio
COPY assets assets

# The code stays root's and unwritable; the visitor's files go to the home of a user who owns nothing else.
RUN useradd --create-home --uid 1000 studio
USER studio
ENV HOST=0.0.0.0 PORT=7860 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD \
    ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/', timeout=4)"]
ENTRYPOINT ["python", "launch.py", "--no-setup"]
