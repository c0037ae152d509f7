"""Schemas of the operators' objects, as far as the chart uses them; anything else is refused.

Written from the operators' documentation: KEDA 2.19, KubeRay 1.7, Prometheus operator 0.86,
Gateway API 1.4, cert-manager 1.19. Pod templates are checked by Kubernetes' own schema.
"""

from __future__ import annotations

from typing import Any

from chart_render import Manifest
from jsonschema import Draft202012Validator

Schema = dict[str, Any]


def _object(required: Schema, optional: Schema | None = None) -> Schema:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": {**required, **(optional or {})},
    }


def _list(items: Schema, least: int = 1) -> Schema:
    return {"type": "array", "minItems": least, "items": items}


TEXT: Schema = {"type": "string", "minLength": 1}
COUNT: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}
ANY: Schema = {"type": "object"}
TEMPLATE: Schema = {"type": "object", "required": ["metadata", "spec"]}
DURATION: Schema = {"type": "string", "pattern": "^([0-9]+(ms|s|m|h))+$"}
METADATA = _object({"name": TEXT, "labels": TEXTS}, {"annotations": TEXTS})
SELECTOR = _object({}, {"matchLabels": TEXTS, "matchExpressions": _list(ANY)})
KEY_REF = _object({"secretKeyRef": _object({"name": TEXT, "key": TEXT})})
ENDPOINTS = _list(_object({"port": TEXT}, {"interval": DURATION, "path": TEXT}))

_REDIS = _object(
    {
        "address": {"type": "string", "pattern": "^[^:/]+:[0-9]+$"},
        "listName": TEXT,
        "listLength": {"type": "string", "pattern": "^[0-9]+$"},
    },
    {"databaseIndex": TEXT, "enableTLS": {"enum": ["true", "false"]}, "activationListLength": TEXT},
)
SCALED_JOB = _object(
    {
        "jobTargetRef": _object(
            {"template": TEMPLATE}, {"backoffLimit": COUNT, "ttlSecondsAfterFinished": COUNT}
        ),
        "triggers": _list(
            _object(
                {"type": {"const": "redis"}, "metadata": _REDIS},
                {"authenticationRef": _object({"name": TEXT})},
            )
        ),
    },
    {
        "pollingInterval": COUNT,
        "minReplicaCount": COUNT,
        "maxReplicaCount": COUNT,
        "successfulJobsHistoryLimit": COUNT,
        "failedJobsHistoryLimit": COUNT,
        "rollout": _object({"strategy": {"enum": ["default", "gradual"]}}),
        "scalingStrategy": _object(
            {"strategy": {"enum": ["default", "custom", "accurate", "eager"]}}
        ),
    },
)
TRIGGER_AUTHENTICATION = _object(
    {
        "secretTargetRef": _list(
            _object({"parameter": {"enum": ["password", "username"]}, "name": TEXT, "key": TEXT})
        )
    }
)
_RAY_CLUSTER = _object(
    {
        "rayVersion": {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
        "headGroupSpec": _object({"rayStartParams": TEXTS, "template": TEMPLATE}),
        "workerGroupSpecs": _list(
            _object(
                {
                    "groupName": TEXT,
                    "replicas": COUNT,
                    "minReplicas": COUNT,
                    "maxReplicas": COUNT,
                    "rayStartParams": TEXTS,
                    "template": TEMPLATE,
                }
            )
        ),
    },
    {
        "enableInTreeAutoscaling": FLAG,
        "authOptions": _object({"mode": {"enum": ["token", "disabled"]}}),
        "autoscalerOptions": _object(
            {},
            {
                "version": {"enum": ["v1", "v2"]},
                "idleTimeoutSeconds": COUNT,
                "resources": ANY,
                "securityContext": ANY,
            },
        ),
        "gcsFaultToleranceOptions": _object(
            {"redisAddress": TEXT, "redisPassword": _object({"valueFrom": KEY_REF})}
        ),
    },
)
RAY_SERVICE = _object(
    {"serveConfigV2": TEXT, "rayClusterConfig": _RAY_CLUSTER},
    {
        "upgradeStrategy": _object({"type": {"enum": ["NewCluster", "None"]}}),
        "rayClusterDeletionDelaySeconds": COUNT,
        "excludeHeadPodFromServeSvc": FLAG,
    },
)
SERVICE_MONITOR = _object(
    {"selector": SELECTOR, "endpoints": ENDPOINTS}, {"targetLabels": _list(TEXT)}
)
POD_MONITOR = _object(
    {"selector": SELECTOR, "podMetricsEndpoints": ENDPOINTS}, {"podTargetLabels": _list(TEXT)}
)
PROMETHEUS_RULE = _object(
    {
        "groups": _list(
            _object(
                {
                    "name": TEXT,
                    "rules": _list(
                        _object(
                            {"alert": TEXT, "expr": TEXT, "labels": TEXTS, "annotations": TEXTS},
                            {"for": DURATION},
                        )
                    ),
                }
            )
        )
    }
)
GATEWAY = _object(
    {
        "gatewayClassName": TEXT,
        "listeners": _list(
            _object(
                {"name": TEXT, "port": COUNT, "protocol": {"enum": ["HTTP", "HTTPS"]}},
                {
                    "hostname": TEXT,
                    "tls": _object(
                        {"mode": {"const": "Terminate"}},
                        {"certificateRefs": _list(_object({"name": TEXT}))},
                    ),
                    "allowedRoutes": ANY,
                },
            )
        ),
    }
)
HTTP_ROUTE = _object(
    {
        "parentRefs": _list(_object({"name": TEXT}, {"namespace": TEXT, "sectionName": TEXT})),
        "rules": _list(
            _object(
                {"backendRefs": _list(_object({"name": TEXT, "port": COUNT}))},
                {
                    "matches": _list(
                        _object({"path": _object({"type": TEXT, "value": TEXT})}),
                    ),
                    "timeouts": _object({"request": DURATION}),
                },
            )
        ),
    },
    {"hostnames": _list(TEXT)},
)
CERTIFICATE = _object(
    {
        "secretName": TEXT,
        "dnsNames": _list(TEXT),
        "issuerRef": _object(
            {"name": TEXT, "kind": {"enum": ["Issuer", "ClusterIssuer"]}, "group": TEXT}
        ),
    },
    {"duration": DURATION, "renewBefore": DURATION, "privateKey": ANY, "usages": _list(TEXT)},
)

CUSTOM: dict[str, tuple[str, Schema]] = {
    "ScaledJob": ("keda.sh/v1alpha1", SCALED_JOB),
    "TriggerAuthentication": ("keda.sh/v1alpha1", TRIGGER_AUTHENTICATION),
    "RayService": ("ray.io/v1", RAY_SERVICE),
    "ServiceMonitor": ("monitoring.coreos.com/v1", SERVICE_MONITOR),
    "PodMonitor": ("monitoring.coreos.com/v1", POD_MONITOR),
    "PrometheusRule": ("monitoring.coreos.com/v1", PROMETHEUS_RULE),
    "Gateway": ("gateway.networking.k8s.io/v1", GATEWAY),
    "HTTPRoute": ("gateway.networking.k8s.io/v1", HTTP_ROUTE),
    "Certificate": ("cert-manager.io/v1", CERTIFICATE),
}


def check_custom(manifest: Manifest) -> None:
    """Raises AssertionError naming all that is wrong."""
    version, spec = CUSTOM[manifest["kind"]]
    schema = _object(
        {
            "apiVersion": {"const": version},
            "kind": {"const": manifest["kind"]},
            "metadata": METADATA,
            "spec": spec,
        }
    )
    problems = [
        f"{error.json_path}: {error.message}"
        for error in Draft202012Validator(schema).iter_errors(manifest)
    ]
    assert not problems, f"{manifest['kind']}/{manifest['metadata']['name']}: {problems}"
