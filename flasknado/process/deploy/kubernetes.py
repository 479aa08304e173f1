"""A deployment and a service of Kubernetes, in one stream of YAML."""

from __future__ import annotations

import json

from flasknado.process.deploy.containers import USER_ID
from flasknado.process.deploy.site import OPS_PORT, Site

PORT = 8000
PRIVATE_NETWORKS = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16"
"""Where Prometheus is: the service does not lead to the port of the metrics."""

PRE_STOP_S = 5
"""How long a pod that ends goes on as before, while nobody is sent to it any more."""


def files(site: Site) -> dict[str, str]:
    """Return the file, by its path."""
    return {f"{site.name}.yaml": _manifests(site)}


def _manifests(site: Site) -> str:
    name, prefix = site.name, site.ops_prefix
    is_known = site.has("metrics_allow") or site.has("metrics_token")
    command = [
        "flasknado",
        site.application,
        *site.options,
        "--bind",
        f"0.0.0.0:{PORT}",
        *(() if site.has("ops_bind") else ("--ops-bind", f"0.0.0.0:{OPS_PORT}")),
        *(() if is_known else ("--metrics-allow", PRIVATE_NETWORKS)),
        *(() if site.has("log_format") else ("--log-format", "json")),
    ]
    lame_duck = float(site.option("lame_duck")) > 0
    pre_stop = (
        "          # --lame-duck does what a preStop hook would."
        if lame_duck
        else f"""\
          # Until all know that this pod ends, it serves as before.
          lifecycle:
            preStop:
              exec:
                command: ["sleep", "{PRE_STOP_S}"]"""
    )
    grace_s = site.grace_s + (0 if lame_duck else PRE_STOP_S)
    return f"""\
# kubectl apply -f {name}.yaml
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  labels: {{app.kubernetes.io/name: {name}}}
spec:
  replicas: 2
  selector:
    matchLabels: {{app.kubernetes.io/name: {name}}}
  strategy:
    rollingUpdate: {{maxUnavailable: 0, maxSurge: 1}}
  template:
    metadata:
      labels: {{app.kubernetes.io/name: {name}}}
      annotations:
        prometheus.io/scrape: "true"
        prometheus.io/port: "{OPS_PORT}"
        prometheus.io/path: {prefix}/metrics
    spec:
      # preStop or --lame-duck, then --graceful-timeout ({site.cfg.graceful_timeout} s), and some.
      terminationGracePeriodSeconds: {grace_s}
      automountServiceAccountToken: false
      securityContext:
        runAsNonRoot: true
        runAsUser: {USER_ID}
        runAsGroup: {USER_ID}
        fsGroup: {USER_ID}
        seccompProfile: {{type: RuntimeDefault}}
      containers:
        - name: {name}
          image: {site.image}
          # Behind an ingress, add --forwarded-allow-ips and --trusted-fields.
          command: {json.dumps(command)}
          # Secrets: kubectl create secret generic {name} --from-env-file=.env
          envFrom:
            - secretRef: {{name: {name}, optional: true}}
          ports:
            - {{name: http, containerPort: {PORT}}}
            - {{name: ops, containerPort: {OPS_PORT}}}
          # Has it booted? Until then the other two wait.
          startupProbe:
            httpGet: {{path: {prefix}/healthz, port: ops}}
            periodSeconds: 2
            failureThreshold: 30
          # Does its loop turn? If not, it is restarted.
          livenessProbe:
            httpGet: {{path: {prefix}/healthz, port: ops}}
            periodSeconds: 10
            timeoutSeconds: 5
          # Can it take requests? If not, nobody is sent to it.
          readinessProbe:
            httpGet: {{path: {prefix}/readyz, port: ops}}
            periodSeconds: 2
            timeoutSeconds: 5
{pre_stop}
          resources:
            requests: {{cpu: 250m, memory: 256Mi}}
            limits: {{memory: 512Mi}}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {{drop: [ALL]}}
          volumeMounts:
            - {{name: tmp, mountPath: /tmp}}
      volumes:
        - name: tmp
          emptyDir: {{}}
---
apiVersion: v1
kind: Service
metadata:
  name: {name}
spec:
  selector: {{app.kubernetes.io/name: {name}}}
  ports:
    - {{name: http, port: 80, targetPort: http}}
"""
